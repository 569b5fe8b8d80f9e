"""A manager in a container: begins a task and waits to be killed, or goes on with what an earlier one left.

python -m tests.docker.contained_manager IMAGE MARK             says the subagent's id once it has come so far
python -m tests.docker.contained_manager IMAGE MARK SUBAGENT    prints what came of it as JSON
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from acp_runtime.manager.docker_launcher import DockerLauncher
from tests.contract.conftest import BOUND, PARENT, Place, config_for, make_repo
from tests.contract.test_adoption import numbers, said, told_once
from tests.docker.contained import PLACE, tell

TASK = "[[updates:400]][[say:one]][[wait:go]][[updates:400]][[write:made.txt|here]][[say:two]]"
DONE = {
    "state": "completed",
    "attempt": 1,
    "said": f"{numbers(400)}one{numbers(400)}two",
    "told": True,
    "files": 2,
}


def place(image: str, mark: str) -> Place:
    root = Path(PLACE)
    config, labels = config_for(root, image), {"io.acp-subagents.test": mark}
    made = Place("contained", root, config, lambda: DockerLauncher(config, os.environ, labels=labels), "python3")
    made.kind("scripted")
    return made


async def begin(image: str, mark: str) -> None:
    here = place(image, mark)
    make_repo(here.workspace)
    async with here.runtime() as runtime:
        view = await runtime.spawn(PARENT, here.request(TASK))
        await here.until(runtime, view.id, lambda each: each.newest.result.endswith("one"))
        tell(view.id)
        await asyncio.sleep(BOUND)


async def go_on(image: str, mark: str, subagent: str) -> None:
    here = place(image, mark)
    async with here.runtime() as runtime:
        view = await here.ended(runtime, subagent)
        came = {
            "state": view.newest.state.value,
            "attempt": view.attempt,
            "said": await said(runtime, subagent),
            "told": "completed" in await told_once(runtime),
            "files": view.newest.files_changed,
        }
    print(json.dumps(came))


if __name__ == "__main__":
    asyncio.run(begin(*sys.argv[1:]) if len(sys.argv) == 3 else go_on(*sys.argv[1:]))
