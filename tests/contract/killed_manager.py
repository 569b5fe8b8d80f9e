"""A manager that is to be killed: spawns an agent, says its id once it works, and waits.

With `keeping` it spawns the keeping agent, which goes on in its session, and a second task waits behind the first.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from acp_runtime.core.model import Limits, TaskState
from acp_runtime.manager.docker_launcher import DockerLauncher
from tests.contract.conftest import BOUND, PARENT, Place, config_for, label


async def main(root: Path, image: str, *, keeping: bool) -> None:
    config = config_for(root, image)
    place = Place("docker", root, config, lambda: DockerLauncher(config, os.environ, labels=label(root)), "python3")
    place.kind("scripted")
    place.keeping("--resume")
    agent, hang, restarts = ("keeping", "[[deaf:never]]", 2) if keeping else ("scripted", "[[hang]]", 0)
    task = f"[[write:half.txt|half]][[say:half way]]{hang}"
    async with place.runtime() as runtime:
        request = place.request(task, agent=agent, limits=Limits(restarts=restarts, backoff=0.01))
        view = await runtime.spawn(PARENT, request)
        await place.until(runtime, view.id, lambda each: each.newest.result == "half way")
        assert view.newest.state is not TaskState.COMPLETED
        if keeping:
            await runtime.send(PARENT, view.id, "[[recall]]")
        sys.stdout.write(view.id + "\n")
        sys.stdout.flush()
        await asyncio.sleep(BOUND)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], keeping="keeping" in sys.argv[3:]))
