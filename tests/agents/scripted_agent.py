"""The scripted agent: an ACP v1 agent over stdio that does what the prompt says, well-behaved or hostile.

One file, standard library, Python 3.11 or newer: it is mounted into containers that hold nothing but python3. Where it
is not told to break a rule of the protocol it is strict: it refuses a call before initialize, a relative cwd, a
`session/cancel` sent as a request, an option it did not offer.

Directives stand anywhere in the text of a prompt and are carried out in order; other text is ignored; without any the
agent echoes the text. Between two of them, and in wait, run and hang-politely, a cancel is obeyed. An unknown one is
answered with -32602. An argument may hold anything but `]]` (it may end with `]`).

    [[say:TEXT]] [[think:TEXT]]     one message chunk | one thought chunk
    [[write:PATH|TEXT]]             write a file (relative to the session's cwd), told as a tool call
    [[run:CMD]]                     run a shell command, told as a tool call; failed when it exits non-zero
    [[failtool:TITLE]]              a tool call that fails
    [[updates:N]]                   N message chunks: "0\\n", "1\\n", ...
    [[ask:KIND,KIND]]               a tool call that asks permission with options opt-0, opt-1, ... of these kinds and
                                    fails unless an allow was chosen; says `chose opt-0` or `cancelled`
    [[request:METHOD|PARAMS]]       send this request to the client; says `METHOD -> -32601`, or the result as JSON
    [[init]]                        say the params of the client's initialize as JSON
    [[wait:FILE]]                   until FILE exists
    [[hang]] [[hang-politely]]      never answer, not even a cancel | answer nothing but a cancel
    [[stop:REASON]]                 end the turn with this stop reason
    [[error:CODE|MESSAGE]]          end the turn with a JSON-RPC error
    [[bigresponse:BYTES]]           end the turn with a response of this many bytes in one line
    [[late:TEXT]] [[late:TEXT|FILE]]  a message chunk after the response | the same once FILE exists
    [[otherSession:TEXT]]           a message chunk under a session id nobody opened
    [[raw:TEXT]] [[rawhex:HEX]]     a line on stdout as it is, but for $SESSION and $REQUEST, which are ids
    [[bigline:BYTES]]               a valid notification of this many bytes in one line
    [[stderr:BYTES]]                this many bytes on stderr
    [[closeout]]                    close stdout and live on
    [[fork]] [[fork:hold]]          leave a process in its own session behind (hold: stdout stays open), say its pid
    [[exit:CODE]] [[kill]]          exit at once | SIGKILL itself

How it starts is said in argv or in the environment variable SCRIPTED_AGENT_ARGS: see --help.
"""

import argparse
import hashlib
import json
import os
import queue
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

DIRECTIVE = re.compile(r"\[\[([a-zA-Z]+(?:-[a-z]+)*)(?::(.*?))?\]\](?!\])", re.DOTALL)
POLL_SECONDS = 0.02
REPLY_SECONDS = 600.0
OUTPUT_LIMIT, STDOUT_LOCK = 64 << 10, threading.Lock()


class Answer(Exception):  # noqa: N818  # it ends a request, well or badly
    """The answer to a request: `result` or `error`, padded to `size` bytes when that is given."""

    def __init__(self, size: int = 0, **fields: object) -> None:
        super().__init__()
        self.size = size
        self.fields = fields


def stopped(reason: str) -> Answer:
    return Answer(result={"stopReason": reason})


def refused(code: int, message: str) -> Answer:
    return Answer(error={"code": code, "message": message})


def wait_for_file(path: str, cancelled: threading.Event) -> None:
    while not Path(path).exists():
        if cancelled.wait(POLL_SECONDS):
            raise stopped("cancelled")


def write_line(line: bytes) -> None:
    """Write a whole line, from any thread. A client that is gone is not noticed."""
    with STDOUT_LOCK, suppress(OSError):
        for piece in (line, b"\n"):
            left = memoryview(piece)
            while left:
                left = left[os.write(1, left) :]


def write_message(fields: dict[str, object], size: int = 0) -> None:
    """Write one message; the text PAD in it is widened until the line has `size` bytes."""
    line = json.dumps({"jsonrpc": "2.0", **fields}).encode()
    write_line(line.replace(b"PAD", b"x" * (size - len(line) + 3)) if size else line)


class Turn:
    """One prompt, carried out in its own thread. A method `do_NAME` is the directive NAME."""

    def __init__(self, agent: "Agent", session: str, text: str) -> None:
        self.agent = agent
        self.session = session
        self.text = text
        self.cancelled = threading.Event()
        self.late: list[str] = []

    def run(self, request: object) -> None:
        """Carry out the script and answer the request, then send the late updates."""
        self.request = request
        try:
            answer = self.carry_out()
        except Answer as ended:
            answer = ended
        self.agent.turns.pop(self.session, None)
        write_message({"id": request, **answer.fields}, answer.size)
        for late in self.late:
            text, _, file = late.partition("|")
            if file:
                wait_for_file(file, threading.Event())
            self.do_say(text)

    def carry_out(self) -> Answer:
        directives = [(name, argument or "") for name, argument in DIRECTIVE.findall(self.text)]
        methods = [getattr(self, "do_" + name.replace("-", "_"), None) for name, _ in directives]
        if None in methods:
            raise refused(-32602, f"Unknown directive [[{directives[methods.index(None)][0]}]].")
        if not directives:
            self.do_say(self.text)
        for method, (name, argument) in zip(methods, directives, strict=True):
            if self.cancelled.is_set():
                break
            try:
                method(argument)  # type: ignore[misc]  # None was refused above
            except ValueError as error:
                raise refused(-32602, f"Bad argument in [[{name}:{argument[:100]}]]: {error}.") from error
        return stopped("cancelled" if self.cancelled.is_set() else "end_turn")

    def update(self, what: str, body: dict[str, object], session: str = "", size: int = 0) -> None:
        params = {"sessionId": session or self.session, "update": {"sessionUpdate": what, **body}}
        write_message({"method": "session/update", "params": params}, size)

    def begin_tool(self, title: str, kind: str) -> str:
        call = f"call-{secrets.token_hex(8)}"
        self.update("tool_call", {"toolCallId": call, "title": title, "kind": kind, "status": "in_progress"})
        return call

    def end_tool(self, call: str, ok: bool, text: str) -> None:
        content = [{"type": "content", "content": {"type": "text", "text": text}}]
        status = "completed" if ok else "failed"
        self.update("tool_call_update", {"toolCallId": call, "status": status, "content": content})

    def do_say(self, text: str, session: str = "") -> None:
        self.update("agent_message_chunk", {"content": {"type": "text", "text": text}}, session)

    def do_think(self, text: str) -> None:
        self.update("agent_thought_chunk", {"content": {"type": "text", "text": text}})

    def do_otherSession(self, text: str) -> None:  # noqa: N802  # the name of the directive
        self.do_say(text, "nobody-opened-this")

    def do_updates(self, number: str) -> None:
        for index in range(int(number)):
            self.do_say(f"{index}\n")

    def do_bigline(self, size: str) -> None:
        self.update("agent_message_chunk", {"content": {"type": "text", "text": "PAD"}}, size=int(size))

    def do_late(self, text: str) -> None:
        self.late.append(text)

    def do_write(self, argument: str) -> None:
        name, found, text = argument.partition("|")
        if not found:
            raise ValueError("PATH|TEXT is expected")
        call = self.begin_tool(f"write {name}", "edit")
        path = Path(self.agent.sessions[self.session], name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            self.end_tool(call, False, str(error))
        else:
            self.end_tool(call, True, f"wrote {len(text)} characters")

    def do_run(self, command: str) -> None:
        call = self.begin_tool(command, "execute")
        with TemporaryFile() as kept:
            argv, nothing = ["/bin/sh", "-c", command], subprocess.DEVNULL
            cwd = self.agent.sessions[self.session]
            with self.agent.starting:
                process = subprocess.Popen(argv, cwd=cwd, stdin=nothing, stdout=kept, stderr=kept, process_group=0)
                self.agent.commands.append(process.pid)
            while process.poll() is None:
                if self.cancelled.wait(POLL_SECONDS):
                    os.killpg(process.pid, signal.SIGKILL)
            self.agent.commands.remove(process.pid)
            kept.seek(0)
            self.end_tool(call, process.returncode == 0, kept.read(OUTPUT_LIMIT).decode(errors="replace"))

    def do_failtool(self, title: str) -> None:
        self.end_tool(self.begin_tool(title, "other"), False, "failed as told")

    def do_ask(self, kinds: str) -> None:
        call = self.begin_tool(f"ask {kinds}", "other")
        options = [{"optionId": f"opt-{n}", "name": kind, "kind": kind} for n, kind in enumerate(kinds.split(","))]
        asked = {"sessionId": self.session, "toolCall": {"toolCallId": call}, "options": options}
        outcome = self.agent.call("session/request_permission", asked).get("result", {}).get("outcome", {})
        chosen = {o["optionId"]: o["kind"] for o in options}.get(outcome.get("optionId"), "")
        if outcome.get("outcome") == "selected" and chosen:
            said = f"chose {outcome['optionId']}"
        else:
            said, chosen = "cancelled" if outcome == {"outcome": "cancelled"} else f"invalid {json.dumps(outcome)}", ""
        self.end_tool(call, chosen.startswith("allow"), said)
        self.do_say(said)

    def do_request(self, asked: str) -> None:
        method, _, params = asked.partition("|")
        reply = self.agent.call(method, {"sessionId": self.session, **json.loads(params or "{}")})
        self.do_say(f"{method} -> {reply['error']['code'] if 'error' in reply else json.dumps(reply.get('result'))}")

    def do_init(self, _: str) -> None:
        self.do_say(json.dumps(self.agent.initialized))

    def do_wait(self, file: str) -> None:
        wait_for_file(file, self.cancelled)

    def do_hang(self, _: str) -> None:
        wait_for_file(f"/nonexistent/{secrets.token_hex(8)}", threading.Event())

    def do_hang_politely(self, _: str) -> None:
        self.cancelled.wait()

    def do_stop(self, reason: str) -> NoReturn:
        raise stopped(reason)

    def do_error(self, argument: str) -> NoReturn:
        code, _, message = argument.partition("|")
        raise refused(int(code), message)

    def do_bigresponse(self, size: str) -> NoReturn:
        raise Answer(int(size), result={"stopReason": "end_turn", "_meta": {"padding": "PAD"}})

    def do_raw(self, text: str) -> None:
        write_line(text.replace("$SESSION", self.session).replace("$REQUEST", str(self.request)).encode())

    def do_rawhex(self, digits: str) -> None:
        write_line(bytes.fromhex(digits))

    def do_stderr(self, size: str) -> None:
        left = int(size)
        while left > 0:
            left -= os.write(2, (b"stderr noise " * 5 + b"\n")[-left:])

    def do_closeout(self, _: str) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def do_fork(self, argument: str) -> None:
        argv, null = [sys.executable, "-c", "import time; time.sleep(3600)"], subprocess.DEVNULL
        output = None if argument == "hold" else null
        left = subprocess.Popen(argv, stdin=null, stdout=output, stderr=output, start_new_session=True)
        self.do_say(f"forked {left.pid}")

    def do_exit(self, code: str) -> NoReturn:
        os._exit(int(code))

    def do_kill(self, _: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Agent:
    """The protocol: who may call what, when, in the order it came. A method `do_NAME` handles the request NAME."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.initialized: Any = None
        self.authenticated = options.auth is None
        self.sessions: dict[str, str] = {}
        self.turns: dict[str, Turn] = {}
        self.commands: list[int] = []
        self.starting = threading.Lock()
        self._replies: dict[object, queue.SimpleQueue[dict[str, Any]]] = {}

    def serve(self) -> None:
        """Handle every line until the end of input."""
        for line in iter(sys.stdin.buffer.readline, b""):
            message: Any = None
            with suppress(ValueError):
                message = json.loads(line)
            if not isinstance(message, dict):
                write_message({"id": None, **refused(-32700, "Parse error").fields})
            elif "method" not in message:
                if reply := self._replies.pop(message.get("id"), None):
                    reply.put(message)
            elif "id" in message:
                self._take_request(message["id"], message["method"], message.get("params") or {})
            elif message["method"] == "session/cancel" and (turn := self.turns.get(message["params"]["sessionId"])):
                turn.cancelled.set()

    def call(self, method: str, params: object) -> dict[str, Any]:
        """Send a request to the client and wait for its reply, also while a cancel is pending: it must come."""
        request = f"agent-{secrets.token_hex(4)}"
        reply = self._replies[request] = queue.SimpleQueue()
        write_message({"id": request, "method": method, "params": params})
        return reply.get(timeout=REPLY_SECONDS)

    def _take_request(self, request: object, method: str, params: dict[str, Any]) -> None:
        try:
            if method != "initialize" and self.initialized is None:
                raise refused(-32600, "The first call must be initialize.")
            if (handler := getattr(self, "do_" + method.replace("/", "_"), None)) is None:
                raise refused(-32601, "Method not found")
            handler(request, params)
        except Answer as answer:
            write_message({"id": request, **answer.fields})

    def do_initialize(self, _: object, params: dict[str, Any]) -> None:
        if self.options.never_initialize:
            return
        if self.options.initialize_error:
            raise refused(-32603, "initialize fails as told")
        self.initialized = params
        methods = [] if self.options.auth is None else [{"id": self.options.auth, "name": "scripted"}]
        told = {"agentInfo": {"name": "scripted-agent", "version": "1"}, "agentCapabilities": {"loadSession": False}}
        raise Answer(result={"protocolVersion": self.options.protocol_version, "authMethods": methods, **told})

    def do_authenticate(self, _: object, params: dict[str, Any]) -> NoReturn:
        if self.options.auth is None or params.get("methodId") != self.options.auth:
            raise refused(-32602, f"Unknown authentication method {params.get('methodId')!r}.")
        self.authenticated = True
        raise Answer(result={})

    def do_session_new(self, _: object, params: dict[str, Any]) -> NoReturn:
        if not self.authenticated:
            raise refused(-32000, "Authentication required")
        if self.options.session_error:
            raise refused(-32603, "session/new fails as told")
        if not str(params.get("cwd", "")).startswith("/") or not isinstance(params.get("mcpServers"), list):
            raise refused(-32602, "session/new takes an absolute cwd and a list of mcpServers.")
        session = f"scripted-{secrets.token_hex(8)}"
        self.sessions[session] = params["cwd"]
        if self.options.early_update:
            Turn(self, session, "").do_say("early")
        raise Answer(result={} if self.options.no_session_id else {"sessionId": session})

    def do_session_prompt(self, request: object, params: dict[str, Any]) -> None:
        session = params.get("sessionId", "")
        if session not in self.sessions:
            raise refused(-32602, f"Unknown session {session!r}.")
        text = "\n".join(block["text"] for block in params.get("prompt", []) if block.get("type") == "text")
        if self.options.journal:
            entry = {"id": request, "session": session, "sha256": hashlib.sha256(text.encode()).hexdigest()}
            with Path(self.options.journal).open("a", encoding="ascii") as journal:
                print(json.dumps(entry), file=journal, flush=True)
                os.fsync(journal)
        turn = self.turns[session] = Turn(self, session, text)
        threading.Thread(target=turn.run, args=(request,), daemon=True).start()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripted_agent", description="An ACP agent that does what the prompt says.")
    parser.add_argument("--protocol-version", type=int, default=1, metavar="N", help="answer initialize with N")
    parser.add_argument("--auth", metavar="METHODID", help="refuse session/new (-32000) until authenticate with this")
    parser.add_argument("--exit-at-start", type=int, metavar="CODE", help="exit before reading anything")
    parser.add_argument("--slow-start", metavar="FILE", help="read nothing until FILE exists")
    parser.add_argument("--journal", metavar="FILE", help="append each prompt as {id, session, sha256}, synced")
    parser.add_argument("--early-update", action="store_true", help="send an update before session/new is answered")
    parser.add_argument("--noise-at-start", action="store_true", help="write lines that are no messages")
    for flag in ("never-initialize", "initialize-error", "session-error", "no-session-id", "ignore-eof", "ignore-term"):
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args([*shlex.split(os.environ.get("SCRIPTED_AGENT_ARGS", "")), *sys.argv[1:]])


def main() -> NoReturn:
    given = options()
    if given.exit_at_start is not None:
        print("exits as told", file=sys.stderr)
        sys.exit(given.exit_at_start)
    if given.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if given.noise_at_start:
        write_line(b'Welcome to the scripted agent!\nnull\n[1, 2]\n"text"\n\xff\xfe\n')
        os.write(2, b"noise on stderr\n")
    if given.slow_start:
        wait_for_file(given.slow_start, threading.Event())
    agent = Agent(given)
    agent.serve()
    while given.ignore_eof:
        print("ignores the end of input", file=sys.stderr, flush=True)
        signal.pause()
    agent.starting.acquire()  # never given back: a command that has begun is in the list, and no other begins
    for group in list(agent.commands):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    # A turn that still runs must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main()
