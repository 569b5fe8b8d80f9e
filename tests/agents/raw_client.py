"""A client that knows only JSON lines: it drives one agent over real pipes and keeps all that the agent sent.

It checks nothing, so that a test can send what no client should. Every read is bounded by LIMIT seconds.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

LIMIT = 30.0


class RawClient:
    """One agent, started in a process group of its own; `close` ends that group."""

    def __init__(self, cwd: Path, agent: Path, *argv: str, **env: str) -> None:
        self.cwd = cwd
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(agent), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **env},
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.buffer = bytearray()
        self.messages: list[dict[str, Any]] = []
        self.ids = 0
        self.session = ""

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LIMIT)
        for stream in (self.stdin, self.stdout, self.stderr):
            with suppress(OSError):
                stream.close()

    def send(self, line: bytes) -> None:
        self.stdin.write(line + b"\n")
        self.stdin.flush()

    def message(self, **fields: object) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", **fields}).encode())

    def start(self, method: str, params: object) -> int:
        self.ids += 1
        self.message(id=self.ids, method=method, params=params)
        return self.ids

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            readable, _, _ = select.select([self.stdout], [], [], LIMIT)
            assert readable, "the agent said nothing in time"
            piece = os.read(self.stdout.fileno(), 1 << 20)
            if not piece:
                raise EOFError
            self.buffer += piece
        line, _, rest = self.buffer.partition(b"\n")
        self.buffer = rest
        return bytes(line)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(self.line())
            self.messages.append(message)
            if wanted(message):
                return message

    def end(self) -> int:
        """Read to the end of stdout and return the exit status."""
        with suppress(EOFError):
            self.until(lambda _: False)
        return self.process.wait(LIMIT)

    def answer(self, request: int) -> dict[str, Any]:
        return self.until(lambda message: message.get("id") == request and "method" not in message)

    def call(self, method: str, params: object) -> dict[str, Any]:
        return self.answer(self.start(method, params))

    def open(self, capabilities: object = None) -> "RawClient":
        hello = {"protocolVersion": 1, "clientCapabilities": capabilities or {}}
        assert "result" in self.call("initialize", hello)
        self.session = self.call("session/new", {"cwd": str(self.cwd), "mcpServers": []})["result"]["sessionId"]
        return self

    def begin(self, text: str) -> int:
        self.messages.clear()
        return self.start("session/prompt", {"sessionId": self.session, "prompt": [{"type": "text", "text": text}]})

    def prompt(self, text: str) -> dict[str, Any]:
        return self.answer(self.begin(text))

    def cancel(self) -> None:
        self.message(method="session/cancel", params={"sessionId": self.session})

    def said(self) -> str:
        """Return what the agent said in the open session; what is said in others may come in between."""
        given = [m["params"] for m in self.messages if m.get("method") == "session/update"]
        updates = [params["update"] for params in given if params["sessionId"] == self.session]
        return "".join(u["content"]["text"] for u in updates if u["sessionUpdate"] == "agent_message_chunk")

    def updates(self) -> list[dict[str, Any]]:
        return [m["params"]["update"] for m in self.messages if m.get("method") == "session/update"]

    def tools(self) -> list[tuple[str, str]]:
        """Title and final status of each tool call."""
        titles = {u["toolCallId"]: u["title"] for u in self.updates() if u["sessionUpdate"] == "tool_call"}
        ends = [u for u in self.updates() if u["sessionUpdate"] == "tool_call_update"]
        return [(titles[u["toolCallId"]], u["status"]) for u in ends]


def stop_reason(answer: dict[str, Any]) -> str:
    return str(answer["result"]["stopReason"])
