"""Many agents in containers whose manager was killed: how long the next one takes until all of them are its own.

`python -m tests.bench.adoption FOLDER IMAGE WORKSPACE COUNT` is the manager that is killed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from acp_runtime.config import Config, load
from acp_runtime.core.admission import Admission
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.service import Runtime, SpawnRequest
from sandbox.spec import LABEL
from tests.bench.measure import Figure
from tests.bench.runtime import PARENT, BenchError, scripted

LABELS: Final[Mapping[str, str]] = {f"{LABEL}test": "bench"}
SPAWN_SECONDS: Final = 300.0
ADOPT_SECONDS: Final = 60.0
AT_ONCE: Final = 4


async def adoption(folder: Path, image: str, workspace: Path, count: int) -> list[Figure]:
    """Have `count` idle agents, kill their manager, and open the next one; the agents are ended afterwards."""
    argv = (sys.executable, "-m", "tests.bench.adoption", str(folder), image, str(workspace), str(count))
    manager = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    if manager.stdout is None:
        raise AssertionError(argv)
    try:
        async with asyncio.timeout(SPAWN_SECONDS):
            ids = (await manager.stdout.readline()).decode().split()
    finally:
        manager.send_signal(signal.SIGKILL)
        await manager.wait()
    if len(ids) != count:
        raise BenchError(f"The manager of {count} agents came no further than {len(ids)}.")
    taken = await _adopt(folder, image, ids)
    return [Figure(f"adopting {count} idle agents of a killed manager", "ms", "container", (taken,))]


async def _adopt(folder: Path, image: str, ids: list[str]) -> float:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with _open(folder, image) as runtime:
        async with asyncio.timeout(ADOPT_SECONDS):
            for subagent in ids:
                await _idle(runtime, subagent)
        taken = (loop.time() - begin) * 1000
        for begin in range(0, len(ids), AT_ONCE):
            await asyncio.gather(*(runtime.stop(PARENT, subagent) for subagent in ids[begin : begin + AT_ONCE]))
    return taken


async def _idle(runtime: Runtime, subagent: str) -> None:
    while True:
        tick = runtime.tick
        view = await runtime.status(PARENT, subagent)
        if view.status is Status.IDLE:
            return
        if view.status.over or view.attempt > 1:
            raise BenchError(f"{subagent} was not adopted: {view.status}, {view.cause}.")
        await runtime.changed(tick)


def _open(folder: Path, image: str) -> AbstractAsyncContextManager[Runtime]:
    config = _config(folder, image)
    launcher = DockerLauncher(config, os.environ, labels=LABELS)
    return Runtime.open(folder / "adoption" / "store.db", launcher=launcher, config=config)


def _config(folder: Path, image: str) -> Config:
    config = scripted(load(None, {"HOME": str(folder / "home")}), "python3")
    admission = Admission(per_parent=1_000, total=1_000)
    return replace(config, base_image=image, runtime_dir=folder / "run", admission=admission)


async def _keep(folder: Path, image: str, workspace: Path, count: int) -> None:
    """Spawn the agents, say their ids once all are idle, and wait for the end."""
    request = SpawnRequest(agent="scripted", workspace=workspace, task="[[say:ready]]")
    async with _open(folder, image) as runtime:
        ids: list[str] = []
        while len(ids) < count:
            views = [await runtime.spawn(PARENT, request) for _ in range(min(AT_ONCE, count - len(ids)))]
            await runtime.wait(PARENT, [view.id for view in views], seconds=SPAWN_SECONDS)
            ids += [view.id for view in views]
        sys.stdout.write(" ".join(ids) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(SPAWN_SECONDS)


if __name__ == "__main__":
    asyncio.run(_keep(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
