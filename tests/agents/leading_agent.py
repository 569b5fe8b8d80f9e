"""The numbering agent that uses the tools it is given: it leads others, or asks who leads it. For storms over trees.

More directives in the text of a prompt, beside `[[task:...]]`:

[[lead:COUNT]]    have so many subagents of its own, the first at once, the rest at last; each with a task like its own
                  and `[[led]]`
[[led]]           first try what only who leads may do, then ask a question, and report a result at the end
[[foreign:ID]]    first ask how a subagent stands that is not its own

Whatever block it is shown, in a prompt or with the answer of a tool, is noted (`shown`), and what it asks is answered;
of those that have finished it stops some and gives others one more task. A prompt without a task is a wake-up. Each
call of a tool is noted (`called`: its name, whether it was `done`, and the kind of the refusal).
"""

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numbering_agent
from numbering_agent import RUN, TASK, note

BLOCK = re.compile(r"<background-subagents>\n.*?\n</background-subagents>", re.DOTALL)
ASKED = re.compile(r"^- [^\n]* \((?P<who>bg-\w+)\) request (?P<request>\S+) needs an answer", re.MULTILINE)
FINISHED = re.compile(r"^- [^\n]* \((?P<who>bg-\w+)\) task \S+ (?:completed|interrupted|timed out)", re.MULTILINE)
LEAD, FOREIGN = re.compile(r"\[\[lead:(\d+)\]\]"), re.compile(r"\[\[foreign:(\S+?)\]\]")
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "leading", "version": "1"}}
ANSWER_SECONDS, LOOK_SECONDS = 60.0, 0.1
PATIENCE = 20.0  # with an answer that may not come
CHOICES = ["1", "2"]  # which are their ids too
STOP = 0.7


class Tools:
    """The MCP server that an agent is given, as its client; started with the first call."""

    def __init__(self, told: dict[str, Any], cancelled: threading.Event) -> None:
        self.told = told
        self.cancelled = cancelled
        self.replies: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self.count = 0
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        env = {"PATH": os.environ["PATH"]} | {each["name"]: each["value"] for each in self.told["env"]}
        argv, pipe = [self.told["command"], *self.told["args"]], subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=env)
        threading.Thread(target=self.hear, args=(self.process,), daemon=True).start()
        self.ask("initialize", HELLO)
        self.say(method="notifications/initialized")

    def hear(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if "method" not in message and (reply := self.replies.pop(message["id"], None)):
                reply.put(message)

    def say(self, **fields: Any) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **fields}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request; an error where there is none in time, or the prompt is cancelled."""
        self.count += 1
        reply = self.replies[self.count] = SimpleQueue()
        try:
            self.say(id=self.count, method=method, params=params)
        except OSError:
            self.process = None
        until = time.monotonic() + ANSWER_SECONDS  # noqa: TID251 - a bound of a process of the test
        while self.process is not None and not self.cancelled.is_set() and time.monotonic() < until:  # noqa: TID251
            try:
                return reply.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
        return {"error": {"message": "there was no answer"}}

    def call(self, name: str, **arguments: Any) -> tuple[dict[str, Any], list[str]]:
        """Return what a tool answers, nothing where its outcome is unknown, and what it is told beside it."""
        if self.process is None:
            self.begin()
        told = self.ask("tools/call", {"name": name, "arguments": arguments})
        if "result" not in told:
            note("called", tool=name, done=False, kind=told["error"]["message"].partition(":")[0])
            return {}, []
        answer = told["result"].get("structuredContent", {})
        done = not told["result"].get("isError")
        note("called", tool=name, done=done, kind="" if done else answer.get("kind", "refused"))
        return answer, [each["text"] for each in told["result"]["content"][1:]]


class Leading(numbering_agent.Agent):
    def __init__(self, *, load: bool) -> None:
        super().__init__(load=load)
        self.tools: Tools | None = None
        self.text = ""
        self.count = 0
        self.random = random.Random(RUN)

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if servers := params.get("mcpServers"):
            self.tools = Tools(servers[0], self.cancelled)
        return super().answer(method, params)

    def prompt(self, ident: object, params: dict[str, Any]) -> None:
        self.text = params["prompt"][0]["text"]
        if TASK.search(self.text):
            super().prompt(ident, params)
            return
        label = f"wake-{ident}"
        note("prompt", id=ident, label=label)
        self.shown(self.text)
        cancelled = self.cancelled.is_set()
        numbering_agent.write({"id": ident, "result": {"stopReason": "cancelled" if cancelled else "end_turn"}})
        note("cancelled" if cancelled else "done", label=label)

    def carry_out(self, session: str, label: str, numbers: list[int]) -> None:
        text, led = self.text, "[[led]]" in self.text
        self.shown(text)
        for (foreign,) in [found.groups() for found in FOREIGN.finditer(text)]:
            self.call("get_background_subagent_status", id=foreign)
        if led:
            self.spawn(numbers)
            self.inquire(label)
        wanted = int(found[1]) if (found := LEAD.search(text)) else 0
        for _ in range(min(1, wanted)):
            self.spawn(numbers)
        super().carry_out(session, label, numbers)
        for _ in range(1, wanted):
            self.spawn(numbers)
        if led:
            self.call("report_result", result={"label": label})

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and do what it is told beside the answer."""
        if self.tools is None or self.cancelled.is_set():
            return {}
        answer, told = self.tools.call(name, **arguments)
        for each in told:
            self.shown(each)
        return answer

    def shown(self, text: str) -> None:
        for block in BLOCK.findall(text):
            note("shown", text=block)
            for asked in ASKED.finditer(block):
                self.reply(asked["who"], asked["request"])
            for who in dict.fromkeys(found["who"] for found in FINISHED.finditer(block)):
                self.go_on_with(who)

    def reply(self, who: str, request: str) -> None:
        """Answer a question, also where a manager goes away over it."""
        option, until = self.random.choice(CHOICES), time.monotonic() + PATIENCE  # noqa: TID251
        while time.monotonic() < until and not self.cancelled.is_set():  # noqa: TID251
            if self.call("answer_background_subagent", id=who, request_id=request, option_id=option):
                return

    def go_on_with(self, who: str) -> None:
        if self.random.random() < STOP:
            self.call("stop_background_subagent", id=who)
            return
        label, text = self.task([12, 20, 0, 0, 0])
        if self.call("send_background_subagent", id=who, message=text).get("success"):
            note("taken", label=label)

    def spawn(self, numbers: list[int]) -> None:
        label, text = self.task(numbers)
        given = {"purpose": "a part", "initial_task": text, "cwd": "/workspace"}
        if self.call("spawn_background_subagent", **given).get("success"):
            note("taken", label=label)

    def task(self, numbers: list[int]) -> tuple[str, str]:
        """Return label and text of a task for one of its own, after it was announced."""
        self.count += 1
        label, (n, ms, err, ask, _) = f"{RUN}-{self.count}", numbers
        note("sending", label=label)
        return label, f"say it [[task:{label} n={max(1, n // 2)} ms={ms} err={err} ask={ask // 2} die=0]][[led]]"

    def inquire(self, label: str) -> None:
        """Ask who leads it, and wait for the answer as long as one may come."""
        ident = f"{RUN}-{label}-question"
        note("asked", id=ident, label=label)
        given: dict[str, Any] = {"question": f"which for {label}?", "choices": CHOICES}
        until = time.monotonic() + PATIENCE  # noqa: TID251
        while time.monotonic() < until and not self.cancelled.is_set():  # noqa: TID251
            answer = self.call("ask_parent", **given)
            if answer.get("answer"):
                note("heard", id=ident, label=label, option=answer["answer"])
            if answer and answer.get("status") != "open":
                return


if __name__ == "__main__":
    numbering_agent.main(Leading)
