"""A host in a test: it starts MCP servers and hooks as its children, through a shell as hosts do.

Lines on standard input say what to do: `mcp ARGUMENTS` starts a server and greets it; `tool NAME JSON` calls a tool of
the newest; `hook EVENT SESSION [SOURCE]` runs a hook. One line of JSON answers each: what it was answered, or {}.
It works in the folder that is its argument.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a host", "version": "1"}}
COMMAND = [sys.executable, "-m", "acp_runtime.cli.main"]
SHELL = ["sh", "-c", '"$@"; :', "sh", *COMMAND]


class Server:
    """One MCP server."""

    def __init__(self, client: str, words: list[str]) -> None:
        argv = [*SHELL, "mcp", "--client", client, *words]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ask("initialize", HELLO)
        self._say({"method": "notifications/initialized"})

    def ask(self, method: str, params: dict[str, object]) -> dict[str, object]:
        self._say({"id": method, "method": method, "params": params})
        while True:
            answer = json.loads(self._process.stdout.readline())
            if answer.get("id") == method:
                return dict(answer["result"])

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _say(self, message: dict[str, object]) -> None:
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()


def hook(client: str, event: str, session: str, source: str = "startup") -> dict[str, object]:
    given = {"session_id": session, "cwd": str(Path.cwd()), "source": source}
    argv = [*SHELL, "hook", event, "--client", client, "--within", "30000"]
    done = subprocess.run(argv, input=json.dumps(given), capture_output=True, check=True, text=True)
    return dict(json.loads(done.stdout or "{}"))


def main() -> None:
    client = Path(sys.argv[0]).name
    os.chdir(sys.argv[1])
    servers: list[Server] = []
    for line in sys.stdin:
        what, *words = line.split()
        answer: dict[str, object] = {}
        if what == "mcp":
            servers.append(Server(client, words))
        elif what == "tool":
            arguments = json.loads(line.split(None, 2)[2])
            answer = servers[-1].ask("tools/call", {"name": words[0], "arguments": arguments})
        else:
            answer = hook(client, *words)
        print(json.dumps(answer), flush=True)
    for server in servers:
        server.end()


main()
