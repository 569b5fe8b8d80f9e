"""One client's configuration file, with a piece of ours in it or without: what would change, and the change.

Promises: what cannot be read is not touched; the file is replaced as a whole, keeps its mode, and is written through a
symbolic link; the file as it was before our piece is kept beside it. To uninstall gives back those very bytes where
nothing else has changed since, and otherwise takes out our piece alone.
"""

import difflib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp.jsonc import Unreadable

Found = TypeVar("Found")
MAX_BYTES: Final = 8 * 1024 * 1024


class Piece(Protocol):
    """What is put into a file. Its methods raise `Unreadable` for a text that they cannot read or change safely."""

    @property
    def backup(self) -> str:
        """What the name of a file ends with in which it is kept as it was before."""

    @property
    def by_hand(self) -> str:
        """What a person can do instead."""

    def found(self, text: str) -> Any | None:
        """Return the piece as it stands in a text, None where it is not there."""

    def is_ours(self, value: Any) -> bool:
        """Return whether what was found is what is installed, and not something of its user in that place."""

    def put(self, text: str, value: Any) -> str:
        """Return a text with the piece in it, in place of what there was of it."""

    def take(self, text: str) -> str:
        """Return a text without it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a file. `before` and `after` are None where it is not there; `fresh`: it had nothing of ours."""

    piece: Piece
    path: Path
    before: str | None
    after: str | None
    fresh: bool

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after

    def diff(self) -> Iterator[str]:
        """Return the change as people read it, line by line."""
        old, new = ((text or "").splitlines() for text in (self.before, self.after))
        names = [str(self.path) if text is not None else "/dev/null" for text in (self.before, self.after)]
        return difflib.unified_diff(old, new, names[0], names[1], lineterm="")

    @property
    def backup(self) -> Path:
        """Where the file is kept as it was before our piece."""
        return self.path.with_name(self.path.name + self.piece.backup)


def found(piece: Piece, path: Path) -> Any | None:
    """Return a piece as it stands in a file, None where there is none of it. Raises `Rejected` (config_unreadable)."""
    text = _read(piece, path)
    return None if text is None else _tried(piece, path, lambda: piece.found(text))


def installing(piece: Piece, path: Path, value: Any) -> Change:
    """Return the change that puts a piece into a file. Raises `Rejected` (config_unreadable)."""
    before = _read(piece, path)
    there = _tried(piece, path, lambda: piece.found(before or ""))
    fresh = there is None or not piece.is_ours(there)
    return Change(piece, path, before, _tried(piece, path, lambda: piece.put(before or "", value)), fresh)


def uninstalling(piece: Piece, path: Path) -> Change:
    """Return the change that takes a piece out of a file. Raises `Rejected` (config_unreadable)."""
    before = _read(piece, path)
    value = None if before is None else _tried(piece, path, lambda: piece.found(before))
    if before is None or value is None or not piece.is_ours(value):
        return Change(piece, path, before, before, fresh=True)
    kept = _read(piece, path.with_name(path.name + piece.backup))
    if _tried(piece, path, lambda: piece.put(kept or "", value)) == before:
        return Change(piece, path, before, kept, fresh=False)
    return Change(piece, path, before, _tried(piece, path, lambda: piece.take(before)), fresh=False)


def perform(change: Change) -> None:
    """Do it. Raises `Rejected` (config_unreadable) where the folder or the disk refuses."""
    try:
        if change.fresh:
            change.backup.unlink(missing_ok=True)
            if change.before is not None:
                _write(change.backup, change.before, change.path)
        if change.after is None:
            change.path.unlink()
            return
        _write(change.path, change.after, change.path)
    except OSError as error:
        raise _unusable(change.piece, change.path, f"it cannot be written: {error.strerror}") from error


def forget_backup(change: Change) -> None:
    """Remove the copy that is wanted no more: our piece is out of the file."""
    change.backup.unlink(missing_ok=True)


def _tried(piece: Piece, path: Path, change: Callable[[], Found]) -> Found:
    try:
        return change()
    except Unreadable as error:
        raise _unusable(piece, path, str(error)) from error


def _read(piece: Piece, path: Path) -> str | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(piece, path, f"it cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise _unusable(piece, path, f"it has {len(data)} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unusable(piece, path, "it is no UTF-8") from error


def _write(path: Path, text: str, like: Path) -> None:
    """Replace a file, with the mode of another; a new one is its user's alone."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = like.stat().st_mode & 0o777 if like.exists() else 0o600
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)


def _unusable(piece: Piece, path: Path, why: str) -> Rejected:
    sentence = f"{path} was left as it is: {one_line(why, 300)}; mend it, or {piece.by_hand}"
    return Rejected("config_unreadable", sentence)
