"""A manager that is to be killed: spawns an agent, says its id once its result has come so far, and waits.

Instead of a part of the result: `?` for a question of the agent, `.` for the end of its task. The last argument is
JSON: what is other than usual of its configuration and of its request.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from acp_runtime.core.model import Permissions
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.session.catalogue import AgentKind
from tests.contract.conftest import BOUND, PARENT, Place, config_for, label


async def main(root: Path, image: str, task: str, reached: str, other: dict[str, Any]) -> None:
    config = replace(config_for(root, image), **other["config"])
    place = Place("docker", root, config, lambda: DockerLauncher(config, os.environ, labels=label(root)), "python3")
    place.kind("scripted")
    if "argv" in other:
        place.add_kind(AgentKind("scripted", tuple(other["argv"])))
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request(task, permissions=Permissions.ASK, **other["request"]))
        if reached == "?":
            await place.until(runtime, view.id, lambda each: bool(each.requests))
        elif reached == ".":
            await place.ended(runtime, view.id)
        else:
            await place.until(runtime, view.id, lambda each: reached in each.newest.result)
        sys.stdout.write(view.id + "\n")
        sys.stdout.flush()
        await asyncio.sleep(BOUND)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5])))
