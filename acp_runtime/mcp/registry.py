"""The handshake that joins the doors of one host session: which MCP processes live, of which host, as which parents.

An MCP process writes a note into the runtime directory and holds a lock on it for as long as it lives; a dead one's
note means nothing and is removed. A hook of the same host process, which knows the id of the host's session, looks the
note up and claims it for its session. A note is claimed once: two sessions in one host process are never mixed.
docs/decisions/0025 tells why.
"""

import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from acp_runtime.mcp.host import Host

FOLDER: Final = "sessions"
MAX_NOTE: Final = 8_192
MAX_NOTES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Note:
    """What an MCP process says of itself: whose tools it serves, and which host process started it."""

    parent: str
    client: str
    workspace: str
    host: int
    started: int


@dataclass(frozen=True, slots=True)
class Seeker:
    """A hook that looks for the MCP process of its session. `session` is the name of its parent."""

    session: str
    client: str
    workspace: str
    host: Host


class Registry:
    """The notes of one user, in the runtime directory."""

    def __init__(self, runtime_dir: Path) -> None:
        self._folder = runtime_dir / FOLDER

    @contextmanager
    def registered(self, note: Note) -> Iterator[None]:
        """Keep a note inside the block. Raises `OSError` where the folder refuses it, or is not this user's alone."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(folder):
                raise PermissionError(errno.EACCES, "not a folder of this user alone", str(folder))
        path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Locked before it can be found: a note without a lock is a dead one's.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, json.dumps(asdict(note)).encode())
            new.rename(path)
            yield
        finally:
            _remove(path)
            os.close(descriptor)

    def claim(self, seeker: Seeker) -> str | None:
        """Return the parent that the MCP process of the seeker's session is, and keep it for that session.

        None where there is none yet, and where nobody can tell which of several is meant. Idempotent.
        """
        found = [(path, note) for path, note in self._living() if _fits(note, seeker)]
        mine = [note.parent for path, note in found if _claimant(path) == seeker.session]
        if mine:
            return mine[-1]
        free = [(path, note) for path, note in found if _claimant(path) is None]
        if len(free) != 1:
            return None
        path, note = free[0]
        return note.parent if _claim(path, seeker.session) else None

    def succeed(self, seeker: Seeker) -> str | None:
        """Return whose session the seeker's goes on: its host says that it gave the same session a new id.

        The claim goes over. None where no session, or more than one, of this host process has claimed a note.
        """
        found = [path for path, note in self._living() if _fits(note, seeker)]
        former = {each for path in found if (each := _claimant(path)) is not None}
        if len(former) != 1:
            return None
        for path in found:
            with suppress(OSError):
                path.with_suffix(".claim").unlink()
                _claim(path, seeker.session)
        return former.pop()

    def _living(self) -> list[tuple[Path, Note]]:
        with suppress(OSError):
            if not (is_private(self._folder.parent) and is_private(self._folder)):
                return []
            paths = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)[:MAX_NOTES]
            return [(path, note) for path in paths if (note := _read(path)) is not None]
        return []


def is_private(folder: Path) -> bool:
    """Return whether nobody else can have put anything there. Raises `OSError` where it is not to be seen."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _fits(note: Note, seeker: Seeker) -> bool:
    same_host = (note.host, note.started) == (seeker.host.pid, seeker.host.started)
    return same_host and (note.client, note.workspace) == (seeker.client, seeker.workspace)


def _read(path: Path) -> Note | None:
    """Return the note of a process that lives; that of a dead one is removed."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Note(**json.loads(file.read(MAX_NOTE)))
            _remove(path)
    except (OSError, ValueError, TypeError):
        pass
    return None


def _claimant(path: Path) -> str | None:
    try:
        return path.with_suffix(".claim").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _claim(path: Path, session: str) -> bool:
    """Claim a note; of two that do at once one has it. The whole claim is there at once, or nothing of it."""
    made = path.with_suffix(f".{os.getpid()}")
    try:
        made.write_text(session, encoding="utf-8")
        try:
            os.link(made, path.with_suffix(".claim"))
        except FileExistsError:
            return _claimant(path) == session
        finally:
            made.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    for each in (path.with_suffix(".new"), path.with_suffix(".claim"), path):
        with suppress(OSError):
            each.unlink()
