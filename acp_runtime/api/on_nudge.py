"""`on_nudge`: tells a person who has no parent. The command of the configuration gets each nudge as one line of JSON.

Promises: no shell is between; one command runs at a time, for a bounded time; each nudge is acknowledged when its
command ended with 0, so one that failed, or a daemon that died meanwhile, costs no nudge and repeats no other: it is
told again. So is what the store refused to tell for a moment.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Final

from pydantic import TypeAdapter

from acp_runtime.callers import OPERATOR, parent_of
from acp_runtime.core.errors import SubagentsError
from acp_runtime.service import Runtime
from acp_runtime.views import NudgeView

log = logging.getLogger(__name__)

DOOR: Final = "on_nudge"
COMMAND_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 1.0
_NUDGE: Final = TypeAdapter(NudgeView)


async def tell_person(runtime: Runtime, argv: Sequence[str]) -> None:
    """Run the command for the nudges of what the operator spawned, until cancelled."""
    person = parent_of(OPERATOR)
    while True:
        try:
            async with aclosing(runtime.wakeups(person)) as wakeups:
                async for _ in wakeups:
                    await _tell(runtime, person, argv)
        except SubagentsError as error:
            log.warning("nudges could not be told by the command, and are tried again: %s", error)
        await asyncio.sleep(AGAIN_SECONDS)


async def _tell(runtime: Runtime, person: str, argv: Sequence[str]) -> None:
    turn = await runtime.begin_turn(person, DOOR, secrets.token_hex(8))
    found = await runtime.nudges(person, limit=len(turn.nudges), ids=turn.nudges)
    for nudge in reversed(found):
        if await _run(argv, nudge):
            await runtime.commit_turn(turn.token, only=(nudge.id,))


async def _run(argv: Sequence[str], nudge: NudgeView) -> bool:
    """Return whether the command took a nudge."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        log.warning("on_nudge: %s cannot be executed: %s", argv[0], error.strerror)
        return False
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            await process.communicate(_NUDGE.dump_json(nudge) + b"\n")
    except TimeoutError:
        log.warning("on_nudge: %s had not ended after %g s and was killed", argv[0], COMMAND_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        log.warning("on_nudge: %s ended with %s; the nudge is told again", argv[0], process.returncode)
    return process.returncode == 0
