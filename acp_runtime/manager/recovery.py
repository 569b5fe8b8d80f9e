"""How a manager goes on with an agent that is out of reach, or that another manager started."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from acp_runtime.core.ids import request_number
from acp_runtime.core.model import Reason, Subagent
from acp_runtime.manager.launcher import Fate, Launched, LaunchError
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.session.backoff import LONGEST_SECONDS, Backoff
from acp_runtime.session.observer import Inheritance, Place
from acp_runtime.session.questions import Awaited
from acp_runtime.session.session import AcpSession

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0  # between looks at an engine that tells nobody
LAST_WORDS_SECONDS: Final = 20.0


def inheritance(state: Subagent) -> Inheritance:
    """Return what the log knows of a subagent's open session."""
    task = state.active
    asked = {
        request_number(each.id): Awaited(json.loads(each.wire), each.kind)
        for each in state.requests
        if each.kind.awaited and each.wire
    }
    return Inheritance(
        session_id=state.session_id or "",
        place=Place(state.heard, state.answer_at),
        steering=state.steering,
        prompt=task.prompt[0] if task is not None and task.prompt is not None else None,
        asked=asked,
        count=state.asked,
    )


def output_from(state: Subagent) -> int:
    """Return the offset from which what the agent wrote is not in the log yet, or not all of it."""
    return Place(state.heard, state.answer_at).start


async def adopted(around: Surroundings, session: AcpSession, attempt: int) -> Launched | None:
    """Take up what an earlier manager left of an attempt, dead or alive; None when nothing is left of it.

    Tries until that is known. The caller sets the bound.
    """
    state = around.state()
    session.take_over(inheritance(state))
    while True:
        try:
            return await around.launcher.adopt(around.request(attempt), session, output_from(state))
        except LaunchError as error:
            log.warning("%s cannot be adopted yet: %s", state.id, error)
        await asyncio.sleep(LOOK_SECONDS)


async def regain(launched: Launched, session: AcpSession, refused: Callable[[str], None]) -> Fate | None:
    """Try until the channel goes on (None) or the agent's death is proven. The caller sets the bound.

    `refused` hears in which words the agent's holder turned this manager down.
    """
    backoff = Backoff()
    while True:
        session.lost = None
        try:
            if await launched.recover():
                return None
            if launched.refused is not None:
                refused(launched.refused)
            if (fate := await launched.fate()) is not None:
                return fate
        except Exception:
            log.exception("a look at an agent out of reach failed; it is tried again")
        await backoff.pause()


def unheard(state: Subagent, *, in_hand: bool) -> bool:
    """Tell whether an agent that is being stopped may have said what nobody heard: to its journal alone.

    So it is while it is out of reach, and where the manager that was ending it has died: the agent is not `in_hand`
    then. One whose death is proven was heard out before.
    """
    task = state.active
    kept = state.heard > 0 or (task is not None and task.prompt is not None)
    dead = state.stop is not None and state.stop.reason is Reason.AGENT_DIED
    return kept and not dead and (state.lost_at is not None or not in_hand)


def hearing_seconds(state: Subagent) -> float:
    """Return how long hearing an agent out may take in its end; the rest is for its work and its volumes."""
    return min(LAST_WORDS_SECONDS, state.limits.stop * 2 / 3)


async def ended_surely(launched: Launched) -> None:
    """End an agent at once, however often that fails. The caller sets the bound."""
    while not await launched.kill():  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(LOOK_SECONDS)


async def insist(look: Callable[[], Awaitable[None]]) -> None:
    """Have a look at an agent again until one comes to its end: without it nobody would ever learn of the agent."""
    while True:
        try:
            return await look()
        except Exception:
            log.exception("a look at an agent failed; it is tried again")
        await asyncio.sleep(LONGEST_SECONDS)


def never_delivered(state: Subagent, accepted: int | None) -> bool:
    """Tell whether the agent never got its prompt: none was laid out, or its input ends before the place of it."""
    task = state.active
    return task is not None and accepted is not None and (task.prompt is None or accepted <= task.prompt[1])
