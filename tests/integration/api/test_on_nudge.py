"""The command that tells a person: what it took is told once, also where it did not take another of the same turn."""

import asyncio
import os
import sys
from contextlib import suppress

import pytest

from acp_runtime.api.on_nudge import tell_person
from acp_runtime.callers import OPERATOR
from tests.integration.api.conftest import BOUND, Site
from tests.integration.manager.conftest import log_says

# Takes what is not about the subagent that a file names; says of each whether it took it.
COMMAND = """
import json, sys
nudge = json.loads(sys.stdin.read())
refused = nudge["subagent"] == open(sys.argv[2]).read()
with open(sys.argv[1], "w") as pipe:
    pipe.write(nudge["subagent"] + (" refused" if refused else " taken") + "\\n")
sys.exit(refused)
"""


@pytest.mark.requirement("D06.9")
async def test_a_command_that_fails_for_one_nudge_gets_no_other_again(site: Site) -> None:
    script, refused, path = (site.root / name for name in ("tell.py", "refused", "told"))
    script.write_text(COMMAND)
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    async with site.in_process() as runtime:
        request = site.request("[[say:done]]")
        views = [await runtime.spawn(OPERATOR, request) for _ in range(3)]
        first, *others = [view.id for view in views]
        await runtime.wait(OPERATOR, (first, *others), seconds=BOUND)
        refused.write_text(first)
        telling = asyncio.create_task(tell_person(runtime, [sys.executable, str(script), str(path), str(refused)]))
        try:
            async with asyncio.timeout(BOUND):
                told = [await line_of(pipe) for _ in views]
                assert sorted(told) == sorted([f"{first} refused", *(f"{each} taken" for each in others)])
                refused.write_text("")
                late = (await runtime.spawn(OPERATOR, request)).id
                again = [await line_of(pipe) for _ in range(2)]
                assert sorted(again) == sorted([f"{first} taken", f"{late} taken"])
                tick = runtime.tick
                while any(each.state != "committed" for each in await runtime.nudges(OPERATOR)):
                    await runtime.changed(tick)
                    tick = runtime.tick
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
            os.close(pipe)


async def test_what_the_store_refused_for_a_moment_is_told_afterwards(site: Site) -> None:
    path = site.root / "told"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    (site.root / "tell.py").write_text(COMMAND)
    (site.root / "refused").write_text("")
    argv = [sys.executable, *(str(site.root / name) for name in ("tell.py", "told", "refused"))]
    async with site.in_process() as runtime:
        view = await runtime.spawn(OPERATOR, site.request("[[say:done]]"))
        await runtime.wait(OPERATOR, (view.id,), seconds=BOUND)
        await runtime._store.query("ALTER TABLE nudge RENAME TO away")
        telling = None
        try:
            async with asyncio.timeout(BOUND):
                with log_says("are tried again") as said:
                    telling = asyncio.create_task(tell_person(runtime, argv))
                    await said.wait()
                await runtime._store.query("ALTER TABLE away RENAME TO nudge")
                assert await line_of(pipe) == f"{view.id} taken"
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.wait([telling])
            os.close(pipe)


async def line_of(pipe: int) -> str:
    """Return the next line; each is written at once."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe)
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(pipe, 1)
    return said.decode().strip()
