"""The handshake that joins the doors of one host session: which MCP processes live, of which host, as which parents.

An MCP process writes a note into the runtime directory and holds a lock on it for as long as it lives; a dead one's
note means nothing and is removed. A hook of the same host process, which knows the id of the host's session, looks the
note up and claims it for its session. A note is claimed once: two sessions in one host process are never mixed. A hook
that comes before the process leaves a word that its session waits for one. docs/decisions/0025 tells why.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from acp_runtime.mcp.host import Host
from acp_runtime.private import check_private, is_private

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
    def registered(self, note: Note, session: str | None) -> Iterator[None]:
        """Keep a note inside the block, that of a session from the start where one is given.

        Raises `OSError` where the folder refuses it, or is not this user's alone.
        """
        self._prepare()
        path = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}.json"
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Locked before it can be found: a note without a lock is a dead one's.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, json.dumps(asdict(note)).encode())
            if session is not None:
                _claim(path, session)
            new.rename(path)
            yield
        finally:
            _remove(path)
            os.close(descriptor)

    def claim(self, seeker: Seeker) -> str | None:
        """Return the parent that the MCP process of the seeker's session is, and keep it for that session.

        None where there is none yet, which then is the seeker's when it comes, and where nobody can tell which of
        several is meant. Idempotent.
        """
        claimed = self._claimed(seeker)
        waiting = self._waiting(seeker)
        with suppress(OSError):
            if claimed is None and not self._free(seeker):
                self._wait(waiting, seeker)
                claimed = self._claimed(seeker)  # the process may have come while the word was not there yet
            if claimed is not None:
                waiting.unlink()
        return claimed

    def awaited(self, client: str, workspace: str, host: Host) -> str | None:
        """Return the session of a host process that waits for its MCP process; it waits no longer.

        None where none waits, or more than one.
        """
        found = [
            (path, each)
            for path, each in self._seekers()
            if (each.client, each.workspace, each.host) == (client, workspace, host)
        ]
        if len(found) != 1:
            return None
        ((path, seeker),) = found
        try:
            path.unlink()
        except OSError:
            return None
        return seeker.session

    def _claimed(self, seeker: Seeker) -> str | None:
        found = [(path, note) for path, note in self._living() if _fits(note, seeker)]
        mine = [note.parent for path, note in found if _claimant(path) == seeker.session]
        if mine:
            return mine[-1]
        free = self._free(seeker)
        if len(free) != 1:
            return None
        path, note = free[0]
        return note.parent if _claim(path, seeker.session) else None

    def _free(self, seeker: Seeker) -> list[tuple[Path, Note]]:
        return [(path, note) for path, note in self._living() if _fits(note, seeker) and _claimant(path) is None]

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

    def _prepare(self) -> None:
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(folder)

    def _waiting(self, seeker: Seeker) -> Path:
        """Return where it stands that a session waits."""
        whole = json.dumps([seeker.session, seeker.client, seeker.workspace]).encode()
        return self._folder / f"{seeker.host.word}-{hashlib.sha256(whole).hexdigest()[:16]}.waiting"

    def _wait(self, path: Path, seeker: Seeker) -> None:
        self._prepare()
        made = path.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps(asdict(seeker)), encoding="utf-8")
        made.rename(path)

    def _seekers(self) -> list[tuple[Path, Seeker]]:
        """Return who waits, and forget those whose host is no more."""
        found: list[tuple[Path, Seeker]] = []
        with suppress(OSError):
            if not (is_private(self._folder.parent) and is_private(self._folder)):
                return []
            for path in sorted(self._folder.glob("*.waiting"))[:MAX_NOTES]:
                seeker = _seeker(path)
                if seeker is not None and seeker.host.lives:
                    found.append((path, seeker))
                else:
                    path.unlink(missing_ok=True)
        return found

    def _living(self) -> list[tuple[Path, Note]]:
        with suppress(OSError):
            if not (is_private(self._folder.parent) and is_private(self._folder)):
                return []
            paths = sorted(self._folder.glob("*.json"), key=_written)[:MAX_NOTES]
            return [(path, note) for path in paths if (note := _read(path)) is not None]
        return []


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # its process has ended since it was listed
        return 0


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


def _seeker(path: Path) -> Seeker | None:
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(MAX_NOTE))
        return Seeker(**{**values, "host": Host(**values["host"])})
    except (OSError, ValueError, TypeError, KeyError):
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
