"""A task that needs the model, done from wherever a manager stands; also as a program, for a manager in a container.

python -m tests.docker.remote IMAGE MARK      prints what came of it as JSON
"""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from acp_runtime.config.config import Sockets
from acp_runtime.manager.docker_launcher import DockerLauncher
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, Place, config_for, make_repo

KEY_NAME, KEY = "TEST_MODEL_KEY", "canary-77a1-secret"
CODE = """
import json, urllib.request
asked = {"model": "m", "messages": [{"role": "user", "content": "hello"} ]}
request = urllib.request.Request("http://127.0.0.1:8790/v1/chat/completions", json.dumps(asked).encode())
request.add_header("content-type", "application/json")
print(json.load(urllib.request.urlopen(request, timeout=60))["object"])
"""
TASK = f"[[run:python3 -c '{CODE}' > answer.txt]][[say:The model was asked.]]"


async def ask(
    root: Path, image: str, labels: Mapping[str, str], *, environ: Mapping[str, str], sockets: Sockets
) -> Any:
    """Have the scripted agent ask the model, and return what came of it; nothing of it is left."""
    make_repo(root / "repo")
    config = replace(config_for(root, image), sockets=sockets)
    with ScriptedModel(port=0) as model:
        environ = {**environ, KEY_NAME: KEY}
        place = Place("remote", root, config, lambda: DockerLauncher(config, environ, labels=labels), "python3")
        place.kind("scripted")
        async with place.runtime() as runtime:
            changes = {"model_url": model.base_url, "model_key": f"env:{KEY_NAME}"}
            view = await place.do(runtime, TASK, **changes)
            await runtime.stop(PARENT, view.id, finished=True)
            work = await runtime.work(PARENT, view.id)
        return {
            "result": view.newest.result,
            "cause": view.newest.cause,
            "answer": re.findall(r"^\+([\w.]+)$", work.patch.decode(), re.MULTILINE) if work else None,
            "keys": [request.headers.get("authorization") for request in model.requests],
        }


DONE = {
    "result": "The model was asked.",
    "cause": "the agent ended its turn",
    "answer": ["chat.completion"],
    "keys": [f"Bearer {KEY}"],
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asking = ask(
            Path(made), sys.argv[1], {"io.acp-subagents.test": sys.argv[2]}, environ=os.environ, sockets="auto"
        )
        print(json.dumps(asyncio.run(asking)))
