"""A manager of one store, as a process of its own: makes sandboxes and reaps as it is told over a socket.

Arguments: socket to connect to, store, epoch, image, labels as JSON. Each line that comes is a command as JSON:
`{"make": SUBAGENT, "argv": [...]}` answers the container's id, `{"reap": {SUBAGENT: ATTEMPT or null}}` runs a pass with
that log and answers what was done, by id. The first line that goes out says which process this is.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict

from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.judgement import Standing
from sandbox.ownership import Owner
from sandbox.reaper import Reaper
from sandbox.spec import SandboxSpec


async def main(path: str, store: str, epoch: int, image: str, labels: dict[str, str]) -> None:
    owner = Owner.of_this_process(store, epoch)
    engine = await Engine.connect(os.environ)
    reader, writer = await asyncio.open_unix_connection(path)

    async def make(subagent: str, argv: list[str]) -> str:
        given = {**labels, **owner.labels()}
        spec = SandboxSpec(store, subagent, image, tuple(argv), labels=given, home=False)
        sandbox = await Sandbox.create(engine, spec)
        if argv != ["sleep", "infinity"]:
            await engine.wait_container(sandbox.id, bound=20)
        return sandbox.id

    async def reap(standings: dict[str, int | None]) -> dict[str, list[str]]:
        async def log(_subagents: frozenset[str]) -> dict[str, Standing]:
            return {name: Standing(attempt) for name, attempt in standings.items()}

        done = await Reaper(engine=engine, owner=owner, log=log).run()
        return {each.id: [each.action, each.why] for each in done}

    answer: object = asdict(owner)
    while True:
        writer.write(json.dumps(answer).encode() + b"\n")
        line = await reader.readline()
        if not line:
            break
        command = json.loads(line)
        answer = await make(command["make"], command["argv"]) if "make" in command else await reap(command["reap"])
    await engine.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])))
