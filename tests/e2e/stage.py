"""One stage for runs of the installed command: folders, environment, configuration, and what may not be left there."""

import json
import os
import pty
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from acp_runtime.detached import wait_for_end
from tests import engine

COMMAND = Path(sys.executable).parent / "subagents"
SCRIPT = Path(__file__).parents[1] / "agents" / "scripted_agent.py"
BOUND = 90.0
DYING_SECONDS = 5.0
"""What was killed may be on its way out for a moment where much else runs."""
LABEL = "io.acp-subagents."


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[dict]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command under way. What it says is read as it comes, so that a test can wait for words of it."""

    def __init__(self, process: subprocess.Popen, terminal: int | None = None) -> None:
        self.process = process
        self._streams = {"out": bytearray(), "err": bytearray()}
        self._ended: set[str] = set()
        self._heard = threading.Condition()
        pipes = {name: pipe.fileno() for name, pipe in (("out", process.stdout), ("err", process.stderr)) if pipe}
        fds = pipes if terminal is None else {"out": terminal}
        self._terminal = terminal
        self._threads = [threading.Thread(target=self._listen, args=each) for each in fds.items()]
        for thread in self._threads:
            thread.start()

    def _listen(self, name: str, fd: int) -> None:
        data = b"-"
        while data:
            try:
                data = os.read(fd, 65_536)
            except OSError:  # the other side of a terminal has gone
                data = b""
            with self._heard:
                self._streams[name] += data
                if not data:
                    self._ended.add(name)
                self._heard.notify_all()

    def said(self, stream: str = "err") -> str:
        with self._heard:
            return self._streams[stream].decode(errors="surrogateescape")

    def until(self, words: str, stream: str = "err") -> "Running":
        """Wait for words, on standard error if nothing else is said."""
        with self._heard:
            self._heard.wait_for(lambda: words in self.said(stream) or stream in self._ended, timeout=BOUND)
        assert words in self.said(stream), f"it never said {words!r}, but: {self.said(stream)}"
        return self

    def signal(self, number: signal.Signals) -> "Running":
        self.process.send_signal(number)
        return self

    def type(self, keys: bytes) -> "Running":
        """Type on the terminal."""
        assert self._terminal is not None
        os.write(self._terminal, keys)
        return self

    def end(self) -> Done:
        """Wait for the end."""
        code = self.process.wait(BOUND)
        self.close()
        return Done(code, bytes(self._streams["out"]), self.said())

    def close(self) -> None:
        """Kill what still runs, and let go of its outputs. Idempotent."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(BOUND)
        for thread in self._threads:
            thread.join(BOUND)
            assert not thread.is_alive(), "somebody still holds an output of the command"
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            os.close(terminal)


@dataclass
class Stage:
    """Where runs happen. `root` has a short path: sockets are made below it."""

    root: Path
    command: Path = COMMAND
    marker: str = field(default_factory=lambda: f"e2e-{secrets.token_hex(8)}")
    pids: list[int] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "state", "run", "cache", "tmp"):
            (self.root / name).mkdir(mode=0o700)
        make_repository(self.repository)
        self.kind("scripted")
        self.write_config()

    @property
    def repository(self) -> Path:
        return self.root / "repo"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def runs(self) -> Path:
        return self.root / "state" / "acp-subagents" / "runs"

    @property
    def patches(self) -> list[Path]:
        return sorted((self.root / "state" / "acp-subagents" / "patches").glob("*"))

    @property
    def environment(self) -> dict[str, str]:
        folders = {f"XDG_{each.upper()}_HOME": str(self.root / each) for each in ("state", "cache")}
        passed = {name: os.environ[name] for name in ("PATH", "LANG", "DOCKER_HOST") if name in os.environ}
        own = {"HOME": str(self.root / "home"), "XDG_RUNTIME_DIR": str(self.root / "run")}
        return {**passed, **folders, **own, "TMPDIR": str(self.root / "tmp"), "E2E_MARKER": self.marker}

    def kind(self, name: str, *flags: str) -> None:
        """Add an agent kind: the scripted agent with these flags."""
        self._kind(name, [sys.executable, str(SCRIPT), *flags])

    def kind_inside(self, name: str, *flags: str) -> None:
        """Add an agent kind that needs nothing in its container but python3."""
        self._kind(name, ["python3", "-c", SCRIPT.read_text(encoding="utf-8"), *flags])

    def _kind(self, name: str, argv: list[str]) -> None:
        env = f'{{E2E_MARKER = "{self.marker}", BASE_URL = "$BASE_URL"}}'
        # A TOML string takes what a JSON string has.
        self.kinds[name] = f"[agents.{name}]\nargv = {json.dumps(argv)}\nenv = {env}\n"

    def write_config(self, *tables: str) -> None:
        self.config.write_text("\n".join([*self.kinds.values(), *tables]), encoding="utf-8")

    def arguments(self, *options: str, local: bool = True, **changes: str) -> list[str]:
        given = {"config": str(self.config), "agent": "scripted", "workspace": str(self.repository), **changes}
        named = [word for name, value in given.items() for word in (f"--{name}", value)]
        return [str(self.command), "run", *named, *(["--unsafe-local"] if local else []), *options]

    def start(self, *options: str, local: bool = True, env: dict[str, str] | None = None, **changes: str) -> Running:
        return self.popen(self.arguments(*options, local=local, **changes), env=env)

    def popen(
        self, argv: Sequence[str], *, env: dict[str, str] | None = None, terminal: int | None = None, **how: object
    ) -> Running:
        pipe = subprocess.PIPE
        given = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "cwd": self.root, "umask": 0o077, **how}
        process = subprocess.Popen(argv, env={**self.environment, **(env or {})}, **given)
        self.pids.append(process.pid)
        self.running.append(Running(process, terminal))
        return self.running[-1]

    def run(self, *options: str, local: bool = True, env: dict[str, str] | None = None, **changes: str) -> Done:
        return self.start(*options, local=local, env=env, **changes).end()

    def on_terminal(self, *options: str, **changes: str) -> Running:
        """Start on a terminal of its own; what appears on it is the stream "out"."""
        person, terminal = pty.openpty()
        argv = ["setsid", "--ctty", *self.arguments(*options, **changes)]
        sides = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        try:
            return self.popen(argv, terminal=person, **sides)
        finally:
            os.close(terminal)

    def close(self) -> list[str]:
        """End what still runs and return what was left behind."""
        for each in self.running:
            each.close()
        processes = self._left_processes()  # first: one on its way out may hold a folder
        return [*self._left_folders(), *processes]

    def _left_folders(self) -> list[str]:
        empty = [self.runs, self.root / "run" / "acp-subagents", self.root / "cache" / "acp-subagents" / "scratch"]
        empty.append(self.root / "tmp")
        return [str(path) for folder in empty if folder.is_dir() for path in folder.iterdir()]

    def _left_processes(self) -> list[str]:
        named = [(pid, how) for pid, how in processes() if self.marker in how or f"{self.root}/" in how]
        return [f"process {pid}: {how}" for pid, how in named if not wait_for_end(pid, DYING_SECONDS)]


def processes() -> list[tuple[int, str]]:
    """Return every process but this one with its command line, environment and folder, as far as they can be read."""
    others = [folder for folder in Path("/proc").glob("[0-9]*") if int(folder.name) != os.getpid()]
    return [(int(folder.name), _described(folder)) for folder in others]


def _described(process: Path) -> str:
    told = []
    with suppress(OSError):  # it ended meanwhile, or belongs to somebody else
        told.append((process / "cmdline").read_bytes().decode(errors="replace"))
        told.append(f"{(process / 'cwd').readlink()}/")
        told.append((process / "environ").read_bytes().decode(errors="replace"))
    return " ".join(told)


def on_engine(pids: Sequence[int]) -> list[str]:
    """Return what runs with these process ids left on the engine, and remove it."""
    containers = containers_of(pids)
    volumes = [name for pid in pids for name in engine.volumes(f"{LABEL}pid={pid}")]
    engine.remove_containers(containers)
    engine.remove_volumes(volumes)
    return [*containers, *volumes]


def containers_of(pids: Sequence[int], role: str = "") -> list[str]:
    """Return the ids of the containers that runs with these process ids have."""
    more = [f"{LABEL}role={role}"] if role else []
    return [ident for pid in pids for ident in engine.containers(f"{LABEL}pid={pid}", *more)]


def make_repository(folder: Path) -> None:
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "greeting.txt").write_text("hello\n", encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, input=stdin)
    return done.stdout.decode()
