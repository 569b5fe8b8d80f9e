"""What background subagents cost: memory while they are idle, what a poll carries, and the command line's start."""

import gc
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from acp_runtime.core.admission import Admission
from acp_runtime.service import Runtime
from acp_runtime.tools.tool import Defaults, Desk
from acp_runtime.tools.toolbox import Toolbox
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND, PARENT, Stage

SAID = 24_000
PAGE = os.sysconf("SC_PAGE_SIZE")
# Beside Python's own start, which nobody can do without.
NOTHING = [sys.executable, "-c", "pass"]
HELP = [sys.executable, "-m", "acp_runtime.cli.main", "--version"]


async def background(stage: Stage, folder: Path, *, agents: int, starts: int) -> list[Figure]:
    """Record the figures on one stage; the agents are local processes, so the memory is the manager's alone."""
    config = replace(stage.config, admission=Admission(per_parent=1_000, total=1_000))
    opened = Runtime.open(folder / "idle" / "store.db", launcher=stage.launcher, config=config)
    async with opened as runtime:
        first = await _idle(runtime, stage, 1)
        before = _resident()
        await _idle(runtime, stage, agents)
        memory = Figure(
            "manager's memory for one idle agent", "KiB", "local", ((_resident() - before) / agents / 1024,)
        )
        poll = await _poll(runtime, stage, first[0])
    return [memory, poll, *_starts(starts)]


async def _idle(runtime: Runtime, stage: Stage, count: int) -> list[str]:
    """Spawn agents and return their ids once each has done its task."""
    views = [await runtime.spawn(PARENT, stage.request) for _ in range(count)]
    ids = [view.id for view in views]
    await runtime.wait(PARENT, ids, seconds=BOUND)
    gc.collect()
    return ids


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


async def _poll(runtime: Runtime, stage: Stage, subagent: str) -> Figure:
    """Have an agent say much, and weigh the tool's answer against it."""
    text = "a word or two, " * (SAID // 15)
    begin = (await runtime.poll(PARENT, subagent)).next_seq
    await runtime.send(PARENT, subagent, f"[[say:{text}]]")
    await runtime.wait(PARENT, [subagent], seconds=BOUND)
    desk = Desk(runtime, PARENT, Path(stage.request.workspace), Defaults())
    answer = await Toolbox(desk).call("poll_background_subagent", {"id": subagent, "since_seq": begin})
    told = len(json.dumps(answer, ensure_ascii=False))
    return Figure("size of a poll for each byte said", "ratio", "local", (told / len(text),))


def _starts(count: int) -> list[Figure]:
    """Start the command line and an empty Python in turn."""
    bare, command = [], []
    for _ in range(count):
        bare.append(_took(NOTHING))
        command.append(_took(HELP))
    return [
        Figure("start of Python alone", "ms", "local", tuple(bare)),
        Figure("start of the command line", "ms", "local", tuple(command)),
    ]


def _took(argv: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, timeout=BOUND)
    return (time.perf_counter() - begin) * 1000
