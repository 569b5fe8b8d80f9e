"""A user of the daemon in a test: folders, a configuration, and processes of the real command."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from acp_runtime.api.unix_client import UnixClient
from acp_runtime.cli.background import LOG
from acp_runtime.detached import wait_for_end
from acp_runtime.gateway.place import GatewayPlace
from tests.contract.conftest import assert_nothing_left, make_repo, processes_of

SCRIPT = Path(__file__).parents[1] / "agents" / "scripted_agent.py"
TREE = Path(__file__).parents[2]
BOUND = 60.0
MODULE = [sys.executable, "-m", "acp_runtime.cli.main"]


Site = TypeVar("Site", bound="DaemonSite")


@dataclass
class DaemonSite:
    """Where a user's daemon lives. Every process that is started here is ended by `close`."""

    root: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        make_repo(self.workspace)
        for folder in ("home", "rt"):
            (self.root / folder).mkdir(mode=0o700)
        argv = json.dumps([sys.executable, str(SCRIPT)])
        self.config.write_text(f"[agents.scripted]\nargv = {argv}\n\n[limits]\nbackoff = 0.05\n", encoding="utf-8")

    @property
    def workspace(self) -> Path:
        return self.root / "repo"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def state(self) -> Path:
        return self.root / "home" / ".local" / "state" / "acp-subagents"

    @property
    def store(self) -> Path:
        return self.state / "store.db"

    @property
    def socket(self) -> Path:
        return self.root / "rt" / "acp-subagents" / "daemon.sock"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        own = {"HOME": str(self.root / "home"), "XDG_RUNTIME_DIR": str(self.root / "rt")}
        return kept | own | {"SUBAGENTS_CONFIG": str(self.config), "PYTHONPATH": str(TREE), "PYTHONWARNINGS": "error"}

    @property
    def client(self) -> UnixClient:
        return UnixClient(self.socket)

    def run(self, *argv: str, code: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command, or a piece of Python as this user, to its end."""
        words = [*MODULE, *argv] if code is None else [sys.executable, "-c", code, *argv]
        return subprocess.run(
            words, check=False, env=self.env | variables, cwd=self.root, capture_output=True, text=True, timeout=BOUND
        )

    def popen(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        """Start a process as this user."""
        process = subprocess.Popen(words, env=self.env, cwd=self.root, **streams)
        self.started.append(process)
        return process

    def serve(self, *argv: str) -> int:
        """Have a daemon in the background, and return its pid."""
        done = self.run("serve", "--unsafe-local", *argv)
        assert done.returncode == 0, done.stderr
        return self.pid

    @property
    def pid(self) -> int:
        return int(self.client.hello()["pid"])

    @property
    def gateway(self) -> int | None:
        """The process id of the store's gateway, if one lives."""
        holder = GatewayPlace.of_store("", self.store, self.root).holder()
        return None if holder is None else holder.pid

    def log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.state / LOG).read_text(encoding="utf-8")
        return "(no log)"

    def look(self, sql: str, *values: Any) -> list[Any]:
        """Read the store from outside."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=BOUND)) as connection:
            return connection.execute(sql, values).fetchall()

    def end(self, pid: int, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal a process and see it end."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # one that stands still hears nothing else but SIGKILL
        assert wait_for_end(pid, BOUND), f"process {pid} goes on after {number.name}: {self.log()}"

    def close(self) -> None:
        """End the daemon and whatever else was started."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(BOUND)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        owner = self.store.with_name("store.db.lock")
        if owner.exists() and (pid := owner.read_text().strip()) and int(pid) in processes_of(self.root):
            self.end(int(pid), signal.SIGKILL)
        if (gateway := self.gateway) is not None:
            self.end(gateway, signal.SIGKILL)  # it would wait for the next daemon
        for left in processes_of(self.root):
            assert wait_for_end(left, BOUND), f"process {left} outlives its daemon"


@contextmanager
def daemon_site(root: Path, kind: type[Site] = DaemonSite) -> Iterator[Site]:
    site = kind(root)
    try:
        yield site
    finally:
        site.close()
    assert_nothing_left(root, on_the_engine=False)


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    """Return the next line that a process says, within a bound."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], BOUND)
    assert ready, "it says nothing"
    return process.stdout.readline()
