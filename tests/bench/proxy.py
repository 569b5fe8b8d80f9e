"""What the ACP proxy costs between an editor and its agent, beside a plain pipe (`cat`) and beside nothing."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import acp_runtime.cli.main
from tests.bench.measure import Figure
from tests.e2e.daemon_site import daemon_site

COMMAND = (sys.executable, "-I", acp_runtime.cli.main.__file__, "acp", "--")
UPDATE = json.dumps(
    {
        "jsonrpc": "2.0",
        "method": "session/update",
        "params": {
            "sessionId": "s-0123456789abcdef",
            "update": {
                "sessionUpdate": "agent_message_chunk",
                "content": {"type": "text", "text": "a few words of an answer, as they come from a model, "},
            },
        },
    },
    separators=(",", ":"),
)
# It answers each request; a prompt whose text is a number gets so many updates first.
AGENT = f"""
import json, sys
update = {UPDATE!r}.encode() + b"\\n"
for line in sys.stdin.buffer:
    message = json.loads(line)
    if message.get("method") == "session/prompt":
        left = int(message["params"]["prompt"][0]["text"])
        while left:
            sys.stdout.buffer.write(update * min(left, 100))
            left -= min(left, 100)
    result = {{"protocolVersion": 1, "sessionId": "s-0123456789abcdef", "stopReason": "end_turn"}}
    sys.stdout.buffer.write(json.dumps({{"jsonrpc": "2.0", "id": message["id"], "result": result}}).encode() + b"\\n")
    sys.stdout.buffer.flush()
"""


class Editor:
    """Talks to an agent, or to what stands before it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._ids = 0

    def call(self, method: str, params: object) -> int:
        """Send a request and return how many lines came up to its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._ids += 1
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        lines = 1
        while b'"method"' in self.process.stdout.readline():
            lines += 1
        return lines

    def open(self) -> None:
        self.call("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        self.call("session/new", {"cwd": "/", "mcpServers": []})

    def prompt(self, updates: int) -> int:
        prompt = [{"type": "text", "text": str(updates)}]
        return self.call("session/prompt", {"sessionId": "s-0123456789abcdef", "prompt": prompt})


@contextmanager
def editor(argv: Sequence[str], env: dict[str, str]) -> Iterator[Editor]:
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=env) as process:
        yield Editor(process)


def proxied(folder: Path, *, updates: int, prompts: int, times: int) -> list[Figure]:
    """Record the figures; the daemon that is asked with each prompt is a real one, and idle."""
    program = folder / "agent.py"
    program.write_text(AGENT, encoding="utf-8")
    agent = (sys.executable, "-I", str(program))
    alone = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    with editor(agent, alone) as straight:
        straight.open()
        bare = [_took(straight) for _ in range(prompts)]
    with editor((*COMMAND, *agent), alone) as through:
        through.open()
        flood = [_flood(through, updates) for _ in range(times)]
        away, away_cpu = _prompts(through, prompts)
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as root, daemon_site(Path(root)) as site:
        site.serve()
        with editor((*COMMAND, *agent), site.env) as through:
            through.open()
            there, there_cpu = _prompts(through, prompts)
    return [
        Figure("CPU for one update through the ACP proxy", "µs", "local", tuple(flood)),
        Figure(
            "CPU for one update through cat", "µs", "local", tuple(_cat(agent, alone, updates) for _ in range(times))
        ),
        Figure("a prompt, straight to its agent", "ms", "local", tuple(bare)),
        Figure("a prompt through the ACP proxy, no daemon", "ms", "local", tuple(away)),
        Figure("CPU for such a prompt in the proxy, no daemon", "ms", "local", (away_cpu,)),
        Figure("a prompt through the ACP proxy, asking the daemon", "ms", "local", tuple(there)),
        Figure("CPU for such a prompt in the proxy, asking the daemon", "ms", "local", (there_cpu,)),
    ]


def _flood(through: Editor, updates: int) -> float:
    before = _cpu(through.process.pid)
    assert through.prompt(updates) == updates + 1
    return (_cpu(through.process.pid) - before) / updates / 1000


def _cat(agent: Sequence[str], env: dict[str, str], updates: int) -> float:
    """Return what `cat` uses for an update: the least that a program in between can do."""
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(agent, stdin=pipe, stdout=pipe, env=env) as first,
        subprocess.Popen(("cat",), stdin=first.stdout, stdout=pipe) as cat,
    ):
        assert first.stdin is not None
        assert cat.stdout is not None
        message = {"id": 1, "method": "session/prompt", "params": {"prompt": [{"text": str(updates)}]}}
        first.stdin.write(json.dumps(message).encode() + b"\n")
        first.stdin.flush()
        while b'"method"' in cat.stdout.readline():
            pass
        used = _cpu(cat.pid)
        first.stdin.close()
    return used / updates / 1000


def _prompts(through: Editor, prompts: int) -> tuple[list[float], float]:
    """Return how long each took, and the proxy's CPU for one, all in ms."""
    before = _cpu(through.process.pid)
    took = [_took(through) for _ in range(prompts)]
    return took, (_cpu(through.process.pid) - before) / prompts / 1e6


def _took(at: Editor) -> float:
    begin = time.perf_counter()
    at.prompt(0)
    return (time.perf_counter() - begin) * 1000


def _cpu(pid: int) -> int:
    """Return what all threads of a process have used, in ns."""
    return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat"))
