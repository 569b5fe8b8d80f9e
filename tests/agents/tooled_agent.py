"""The scripted agent that uses the tools it is given: it starts the first of its MCP servers with its session.

[[tools]]               say the names of its tools
[[tool:NAME|ARGS]]      call one (ARGS: JSON), and say what it answers as JSON
[[calls:N|NAME]]        call one N times, and say how many milliseconds each call took as JSON
[[stranger:TOKEN]]      start the server with another token, list the tools there, and say the answer as JSON
[[long:N]]              call one with N letters, and say its error as JSON
[[token]]               say its token
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import scripted_agent

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tooled", "version": "1"}}
SERVERS: dict[str, "Server"] = {}


class Server:
    """An MCP server, as its client sees it."""

    def __init__(self, told: dict[str, Any], **env: str) -> None:
        self.told = told
        self.env = {each["name"]: each["value"] for each in told["env"]} | env
        around = {"PATH": os.environ["PATH"], **self.env}
        argv, pipe = [told["command"], *told["args"]], subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=around)
        self.count = 0

    def say(self, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **fields}).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        self.say(method=method, params=params, id=self.count)  # in the order of most clients
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == self.count and "method" not in message:
                return message
        return {"error": {"message": "the server has ended"}}

    def begin(self) -> dict[str, Any]:
        answer = self.call("initialize", HELLO)
        self.say(method="notifications/initialized")
        return answer


class ToolTurn(scripted_agent.Turn):
    @property
    def server(self) -> Server:
        return SERVERS[self.session]

    def do_tools(self, _: str) -> None:
        found = self.server.call("tools/list", {})["result"]["tools"]
        self.do_say(" ".join(each["name"] for each in found))

    def do_tool(self, asked: str) -> None:
        name, _, given = asked.partition("|")
        answer = self.server.call("tools/call", {"name": name, "arguments": json.loads(given or "{}")})
        told = answer["result"]["structuredContent"] if "result" in answer else answer["error"]
        self.do_say(json.dumps(told))

    def do_long(self, length: str) -> None:
        given = {"name": "report_result", "arguments": {"result": "x" * int(length)}}
        self.do_say(json.dumps(self.server.call("tools/call", given)["error"]))

    def do_calls(self, asked: str) -> None:
        count, _, name = asked.partition("|")
        taken = []
        for _ in range(int(count)):
            begin = time.perf_counter()
            answer = self.server.call("tools/call", {"name": name, "arguments": {}})
            taken.append(round((time.perf_counter() - begin) * 1000, 4))
            if answer.get("result", {}).get("isError", True):
                raise scripted_agent.refused(-32603, f"The call failed: {json.dumps(answer)[:500]}")
        self.do_say(json.dumps(taken))

    def do_stranger(self, token: str) -> None:
        self.do_say(json.dumps(Server(self.server.told, SUBAGENTS_TOOLS_TOKEN=token).begin()))

    def do_token(self, _: str) -> None:
        self.do_say(self.server.env["SUBAGENTS_TOOLS_TOKEN"])


class ToolAgent(scripted_agent.Agent):
    def do_session_new(self, request: object, params: dict[str, Any]) -> None:
        try:
            super().do_session_new(request, params)
        except scripted_agent.Answer as answer:
            result: Any = answer.fields.get("result")
            if result:
                server = SERVERS[result["sessionId"]] = Server(params["mcpServers"][0])
                server.begin()
            raise


if __name__ == "__main__":
    scripted_agent.Agent = ToolAgent
    scripted_agent.Turn = ToolTurn
    scripted_agent.main()
