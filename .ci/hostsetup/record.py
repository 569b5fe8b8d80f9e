"""What the set-up did to this machine, on disk, so that it can be undone and nothing else is.

One small JSON file per machine in a folder that only root writes. Promises: written whole or not at all, before the
step it is about; read strictly, so that a foreign file is never acted on.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from hostsetup.talk import Stop, say

FOLDER = Path("/var/lib/acp-subagents")
LOCK_SECONDS = 1200
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Started:
    """An engine that we started. `pid` 0 means that systemd runs it."""

    pid: int
    start_ticks: int  # field 22 of /proc/PID/stat: with the boot id, what makes a pid unmistakable
    boot_id: str


@dataclass(frozen=True)
class Done:
    """What was done; the empty record means nothing."""

    packages: tuple[str, ...] = ()
    started: Started | None = None


class Record:
    """The file, in `folder`."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self._path = folder / "engine.json"

    @property
    def daemon_log(self) -> Path:
        return self.folder / "dockerd.log"

    @property
    def package_log(self) -> Path:
        return self.folder / "apt.log"

    def make_folder(self) -> None:
        """Make the folder. Raises Stop when that fails."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o755)
        except OSError as error:
            raise Stop(f"{self.folder} cannot be made ({error}); it notes what is done to this machine.") from error

    def read(self) -> Done:
        """Read what was done. Raises Stop when the file is there but is not one of ours."""
        try:
            value = json.loads(self._path.read_text(encoding="utf-8"))
            started = value["started"]
            return Done(tuple(value["packages"]), Started(**started) if started else None)
        except FileNotFoundError:
            return Done()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Stop(f"{self._path} cannot be read ({error}); it notes what was done to this machine.") from error

    def add_packages(self, names: tuple[str, ...]) -> None:
        """Names join those of earlier runs; the order of the first mention stays."""
        before = self.read()
        self._write(replace(before, packages=tuple(dict.fromkeys((*before.packages, *names)))))

    def set_started(self, started: Started | None) -> None:
        self._write(replace(self.read(), started=started))

    def forget(self) -> None:
        """All undone: the folder with its logs goes."""
        for path in (self._path, self.daemon_log, self.package_log, self.folder / "lock"):
            path.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            say(f"{self.folder} holds files that are not ours, so it stays.")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One set-up of the engine at a time on this machine; waits at most 20 minutes for another."""
        self.make_folder()
        with (self.folder / "lock").open("w") as lock:
            wait_for_lock(lock, "sets up the engine", LOCK_SECONDS)
            yield

    def _write(self, done: Done) -> None:
        self.make_folder()
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(done)) + "\n", encoding="utf-8")
        fresh.chmod(0o644)
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        fresh.replace(self._path)


def wait_for_lock(lock: IO[str], doing: str, bound: int) -> None:
    """Take the lock on an open file; raises Stop when another process keeps it for `bound` seconds."""
    for attempt in range(int(bound / POLL_SECONDS)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == 0:
                say(f"Another process {doing}; waiting for it.")
            time.sleep(POLL_SECONDS)
        else:
            return
    raise Stop(
        f"Another process {doing} for more than {bound} s ({lock.name} is locked); see what it does, then retry."
    )
