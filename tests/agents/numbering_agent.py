"""The numbering agent: an ACP v1 agent over stdio that numbers what it says, and keeps a journal of what it saw.

One file, standard library, Python 3.11 or newer, like `scripted_agent.py`, beside which it stands for storms: whatever
ends it, `seen.jsonl` in its HOME tells what it was given and what it sent. It goes on in its sessions by resume, and
with `--load` by load only. At SIGUSR1 it closes its stdout, and lives on without a word.

One directive in the text of a prompt, `[[task:LABEL n=N ms=MS err=E ask=A die=D]]`: say `LABEL 1/N` to `LABEL N/N`,
one line in MS milliseconds; a line on stderr with every E-th; before line A ask for a permission, with the options
`yes` and `no`; before line D kill itself. 0 stands for never. Other text is ignored.
"""

import json
import os
import re
import secrets
import signal
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

TASK = re.compile(r"\[\[task:(\S+) n=(\d+) ms=(\d+) err=(\d+) ask=(\d+) die=(\d+)\]\]")
OPTIONS = [
    {"optionId": "yes", "name": "yes", "kind": "allow_once"},
    {"optionId": "no", "name": "no", "kind": "reject_once"},
]
HOME = Path(os.environ["HOME"])
RUN = f"{os.getpid()}-{secrets.token_hex(4)}"
LOCK, CLOSED = threading.Lock(), threading.Event()


def write(fields: dict[str, Any]) -> None:
    data = json.dumps({"jsonrpc": "2.0", **fields}).encode() + b"\n"
    with LOCK:
        if CLOSED.is_set():
            threading.Event().wait()
        while data:
            data = data[os.write(1, data) :]


def close(*_: object) -> None:
    """Close stdout between two lines. Whatever is to be written from then on waits for ever."""
    threading.Thread(target=_close, daemon=True).start()  # who was interrupted may hold the lock


def _close() -> None:
    with LOCK:
        if not CLOSED.is_set():
            CLOSED.set()
            os.close(1)
            note("closed")


def note(word: str, **more: Any) -> None:
    """Append to the journal. What a prompt's fate hangs on is synced; that an update was sent is not."""
    journal = os.open(HOME / "seen.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(journal, (json.dumps({"word": word, "run": RUN, **more}) + "\n").encode())
    if word != "sent":
        os.fsync(journal)
    os.close(journal)


class Agent:
    def __init__(self, *, load: bool) -> None:
        self.load = load
        self.cancelled = threading.Event()
        self.replies: dict[str, SimpleQueue[dict[str, Any]]] = {}

    def serve(self) -> None:
        """Handle every line until the end of input."""
        for line in sys.stdin.buffer:
            message = json.loads(line)
            method, ident, params = message.get("method"), message.get("id"), message.get("params", {})
            if method is None:
                if reply := self.replies.pop(ident, None):
                    reply.put(message)
            elif method == "session/cancel":
                self.cancelled.set()
            elif method == "session/prompt":
                self.cancelled.clear()
                threading.Thread(target=self.prompt, args=(ident, params), daemon=True).start()
            elif ident is not None:
                write({"id": ident, **self.answer(method, params)})

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "initialize":
            can = {"loadSession": self.load, "sessionCapabilities": {"list": {}} if self.load else {"resume": {}}}
            told = {"agentInfo": {"name": "numbering-agent", "version": "1"}, "agentCapabilities": can}
            return {"result": {"protocolVersion": 1, **told}}
        if method == "session/new":
            session = f"numbered-{secrets.token_hex(4)}"
            (HOME / session).touch()
            return {"result": {"sessionId": session}}
        if method == "session/list":
            found = [{"sessionId": each.name, "cwd": params.get("cwd")} for each in HOME.glob("numbered-*")]
            return {"result": {"sessions": found}}
        if method == ("session/load" if self.load else "session/resume") and (HOME / params["sessionId"]).exists():
            if self.load:
                self.say(params["sessionId"], "this was said before\n")
            return {"result": {}}
        return {"error": {"code": -32601, "message": "no such method or session"}}

    def say(self, session: str, text: str) -> None:
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        write({"method": "session/update", "params": {"sessionId": session, "update": update}})

    def prompt(self, ident: object, params: dict[str, Any]) -> None:
        session, text = params["sessionId"], params["prompt"][0]["text"]
        label, *words = TASK.findall(text)[0]
        note("prompt", id=ident, label=label, session=session)
        self.carry_out(session, label, [int(word) for word in words])
        cancelled = self.cancelled.is_set()
        write({"id": ident, "result": {"stopReason": "cancelled" if cancelled else "end_turn"}})
        note("cancelled" if cancelled else "done", label=label)

    def carry_out(self, session: str, label: str, numbers: list[int]) -> None:
        n, ms, err, ask, die = numbers
        for number in range(1, n + 1):
            if number == die:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == ask:
                self.ask(session, label)
            if self.cancelled.wait(ms / 1000):
                return
            self.say(session, f"{label} {number}/{n}\n")
            note("sent", label=label, n=number)
            if err and number % err == 0:
                os.write(2, f"{label}: {number} of {n} on stderr\n".encode())

    def ask(self, session: str, label: str) -> None:
        ident = f"{RUN}-{label}"
        reply = self.replies[ident] = SimpleQueue()
        note("asked", id=ident, label=label)
        asked = {"sessionId": session, "toolCall": {"toolCallId": ident, "title": f"ask {label}"}, "options": OPTIONS}
        write({"id": ident, "method": "session/request_permission", "params": asked})
        outcome = reply.get().get("result", {}).get("outcome", {})
        note("heard", id=ident, label=label, option=outcome.get("optionId", ""))


def main(kind: type[Agent]) -> None:
    signal.signal(signal.SIGUSR1, close)
    note("start")
    kind(load="--load" in sys.argv).serve()
    os._exit(0)


if __name__ == "__main__":
    main(Agent)
