"""The keeping agent: an ACP v1 agent over stdio that keeps its sessions in HOME and can go on in them.

One file, standard library, Python 3.11 or newer, like `scripted_agent.py`, beside which it stands for what that one
leaves out. Options say what it offers: `--resume`, `--load` (with a replay), `--list`, `--lies` (it "loads" sessions
that it never had), `--steering`, `--fails N` (the first N prompts ever are answered with a 429).

Directives in the text of a prompt, in order: `[[say:TEXT]]`, `[[write:PATH|TEXT]]`, `[[wait:FILE]]` (a cancel or a
steering message is seen meanwhile), `[[deaf:FILE]]` (nothing is), `[[kill]]`, `[[recall]]` (say every prompt of the
session so far, one a line). What was steered is said as `steered: TEXT`.
"""

import argparse
import json
import os
import re
import secrets
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

DIRECTIVE = re.compile(r"\[\[([a-z]+)(?::(.*?))?\]\]", re.DOTALL)
POLL_SECONDS = 0.02
LOCK = threading.Lock()


def write(fields: dict[str, Any]) -> None:
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **fields}) + "\n")
        sys.stdout.flush()


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The answer to a request is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Agent:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = Path(os.environ["HOME"]) / ".keeping-agent"
        self.folder.mkdir(exist_ok=True)
        self.cwd = Path.cwd()
        self.turn: threading.Thread | None = None
        self.cancelled = threading.Event()
        self.steered: list[str] = []

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            method, ident, params = message.get("method"), message.get("id"), message.get("params", {})
            if method == "session/cancel":
                self.cancelled.set()
            elif method == "session/prompt":
                self.cancelled.clear()
                self.turn = threading.Thread(target=self.prompt, args=(ident, params), daemon=True)
                self.turn.start()
            elif method is not None and ident is not None:
                self.answer(ident, method, params)

    def answer(self, ident: object, method: str, params: dict[str, Any]) -> None:
        verb = getattr(self, "on_" + method.strip("_").replace("/", "_"), self.unknown)
        try:
            write({"id": ident, "result": verb(params)})
        except Refused as error:
            write({"id": ident, "error": {"code": error.code, "message": str(error)}})

    def unknown(self, _params: dict[str, Any]) -> dict[str, Any]:
        raise Refused(-32601, "no such method")

    def on_initialize(self, _params: dict[str, Any]) -> dict[str, Any]:
        offered = {name: {} for name in ("resume", "list") if getattr(self.options, name)}
        can = {"loadSession": self.options.load, "sessionCapabilities": offered}
        hello: dict[str, Any] = {"protocolVersion": 1, "agentCapabilities": can}
        hello["agentInfo"] = {"name": "keeping-agent", "version": "1"}
        if self.options.steering:
            hello["_meta"] = {"steering": {"supported": True}}
        return hello

    def on_session_new(self, params: dict[str, Any]) -> dict[str, Any]:
        ident = f"kept-{secrets.token_hex(4)}"
        self.path(ident).write_text("", encoding="utf-8")
        self.cwd = Path(params["cwd"])
        return {"sessionId": ident}

    def on_session_resume(self, params: dict[str, Any]) -> dict[str, Any]:
        if not self.options.resume:
            raise Refused(-32601, "no method session/resume")
        return self.again(params)

    def on_session_load(self, params: dict[str, Any]) -> dict[str, Any]:
        if not self.options.load:
            raise Refused(-32601, "no method session/load")
        result = self.again(params)
        for line in self.told(params["sessionId"]):
            self.update(params["sessionId"], "user_message_chunk", line)
            self.update(params["sessionId"], "agent_message_chunk", f"replayed: {line}")
        return result

    def again(self, params: dict[str, Any]) -> dict[str, Any]:
        if not self.path(params["sessionId"]).exists() and not self.options.lies:
            raise Refused(-32002, "no such session")
        self.cwd = Path(params["cwd"])
        return {}

    def on_session_list(self, _params: dict[str, Any]) -> dict[str, Any]:
        return {"sessions": [{"sessionId": each.stem, "cwd": str(self.cwd)} for each in self.folder.glob("*.txt")]}

    def on_session_steering(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.turn is None or not self.turn.is_alive():
            return {"outcome": "promptRequired", "reason": "noRunningTurn"}
        self.steered.append(params["prompt"][0]["text"])
        return {"outcome": "injected"}

    def path(self, session: str) -> Path:
        return self.folder / f"{session}.txt"

    def told(self, session: str) -> list[str]:
        path = self.path(session)
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def update(self, session: str, kind: str, text: str) -> None:
        update = {"sessionUpdate": kind, "content": {"type": "text", "text": text}}
        write({"method": "session/update", "params": {"sessionId": session, "update": update}})

    def prompt(self, ident: object, params: dict[str, Any]) -> None:
        session, text = params["sessionId"], params["prompt"][0]["text"]
        if self.one_more_failure():
            write({"id": ident, "error": {"code": -32603, "message": "429 Too Many Requests"}})
            return
        with self.path(session).open("a", encoding="utf-8") as file:
            file.write(" ".join(text.split()) + "\n")
        for name, argument in DIRECTIVE.findall(text):
            self.carry_out(session, name, argument)
            if self.cancelled.is_set():
                break
        while self.steered:
            self.update(session, "agent_message_chunk", f"steered: {self.steered.pop(0)}\n")
        write({"id": ident, "result": {"stopReason": "cancelled" if self.cancelled.is_set() else "end_turn"}})

    def one_more_failure(self) -> bool:
        count = self.folder / "failures"
        done = int(count.read_text()) if count.exists() else 0
        count.write_text(str(done + 1))
        return done < int(self.options.fails)

    def carry_out(self, session: str, name: str, argument: str) -> None:
        match name:
            case "say":
                self.update(session, "agent_message_chunk", argument)
            case "write":
                path, _, text = argument.partition("|")
                (self.cwd / path).write_text(text, encoding="utf-8")
            case "wait" | "deaf":
                while not (self.cwd / argument).exists() and not (name == "wait" and self.cancelled.is_set()):
                    time.sleep(POLL_SECONDS)
            case "recall":
                self.update(session, "agent_message_chunk", "\n".join(self.told(session)))
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("resume", "load", "list", "lies", "steering"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--fails", default="0")
    Agent(parser.parse_args()).serve()


main()
