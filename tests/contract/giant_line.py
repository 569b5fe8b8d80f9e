"""A manager in a process of its own: prints its peak memory before and after an agent wrote one giant line."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.local_launcher import LocalLauncher
from tests.contract.conftest import PARENT, Place, config_for, label

SIZE = 100_000_000


def peak() -> int:
    """Return the peak of this process's resident memory in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def main(name: str, root: Path, image: str, directive: str) -> None:
    config = config_for(root, image or None)
    place = Place(name, root, config, lambda: LocalLauncher(root / "agents", os.environ), sys.executable)
    if name == "docker":
        place.make_launcher = lambda: DockerLauncher(config, os.environ, labels=label(root))
        place.python = "python3"
    place.kind("scripted")
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[updates:1000]]")
        before = peak()
        await runtime.send(PARENT, view.id, f"[[{directive}:{SIZE}]][[say:done]]")
        view = await place.ended(runtime, view.id)
        sys.stdout.write(f"{before} {peak()} {view.newest.cause}")


asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
