"""A small task with everything that makes it durable, and the same prompt straight to the same agent, in turn."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from acp_runtime.core.admission import Admission
from acp_runtime.service import Runtime
from acp_runtime.session.channel import Channel
from tests.bench.channels import SCRIPT, pipe
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND, PARENT, BenchError, Stage

TASK: Final = "[[say:done]]"


async def tasks(stage: Stage, folder: Path, count: int) -> list[Figure]:
    """Have `count` tasks done both ways, by local processes: from the sending until the sender knows the end."""
    config = replace(stage.config, admission=Admission(per_parent=2, total=2))
    way, answers = pipe(), Answers()
    straight, durable = [], []
    opened = Runtime.open(folder / "tasks" / "store.db", launcher=stage.launcher, config=config)
    async with (
        way.opened([way.python, "-c", SCRIPT.read_text(encoding="utf-8")], answers) as channel,
        opened as runtime,
    ):
        session = await _session(channel, answers, folder)
        subagent = (await runtime.spawn(PARENT, replace(stage.request, task=TASK))).id
        await runtime.wait(PARENT, [subagent], seconds=BOUND)
        for _ in range(count):
            straight.append(await _straight(channel, answers, session))
            durable.append(await _durable(runtime, subagent))
    return [
        Figure("a small task, straight to the agent", "ms", "local", tuple(straight)),
        Figure("a small task, sent to a subagent", "ms", "local", tuple(durable)),
    ]


async def _straight(channel: Channel, answers: "Answers", session: str) -> float:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    prompt = [{"type": "text", "text": TASK}]
    answer = await answers.ask(channel, "session/prompt", {"sessionId": session, "prompt": prompt})
    if answer["stopReason"] != "end_turn":
        raise BenchError(f"The task ended with {answer}.")
    return (loop.time() - begin) * 1000


async def _durable(runtime: Runtime, subagent: str) -> float:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await runtime.send(PARENT, subagent, TASK)
    view = (await runtime.wait(PARENT, [subagent], seconds=BOUND)).views[0]
    if view.newest.state != "completed":
        raise BenchError(f"The task is {view.newest.state}, not completed: {view.newest.cause}.")
    return (loop.time() - begin) * 1000


async def _session(channel: Channel, answers: "Answers", folder: Path) -> str:
    await answers.ask(channel, "initialize", {"protocolVersion": 1, "clientCapabilities": {}})
    return str((await answers.ask(channel, "session/new", {"cwd": str(folder), "mcpServers": []}))["sessionId"])


class Answers:
    """A receiver that hears answers alone, one request at a time."""

    def __init__(self) -> None:
        self._held = b""
        self._asked = 0
        self._answer: asyncio.Future[Mapping[str, object]] | None = None

    async def ask(self, channel: Channel, method: str, params: Mapping[str, object]) -> Mapping[str, object]:
        """Return the result. Raises BenchError when it is an error, TimeoutError when none comes."""
        self._asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        await channel.send(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(BOUND):
            return await self._answer

    def on_stdout(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if said.get("id") == self._asked and self._answer is not None and not self._answer.done():
                if "result" in said:
                    self._answer.set_result(said["result"])
                else:
                    self._answer.set_exception(BenchError(f"The agent answered {said}."))

    def on_stderr(self, data: bytes) -> None:
        """Let pass what it complains about."""

    def on_closed(self, reason: str) -> None:
        """Do nothing: the answer that does not come is told by its bound."""
