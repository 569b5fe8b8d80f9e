"""One client's configuration file, with our server in it or without: what would change, and the change.

Promises: what cannot be read is not touched; the file is replaced as a whole, keeps its mode, and is written through a
symbolic link; the file as it was before our entry is kept beside it. To uninstall gives back those very bytes where
nothing else has changed since, and otherwise takes out our entry alone.
"""

import difflib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp import jsonc, tomltext
from acp_runtime.mcp.clients import SERVER, Client

MAX_BYTES: Final = 8 * 1024 * 1024
BACKUP: Final = ".before-subagents"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a file. `before` and `after` are None where it is not there; `fresh`: it had no entry of ours."""

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
        """Where the file is kept as it was before our entry."""
        return self.path.with_name(self.path.name + BACKUP)


def installing(client: Client, path: Path, entry: dict[str, Any]) -> Change:
    """Return the change that puts our server into a file. Raises `Rejected` (config_unreadable)."""
    before = _read(path)
    fresh = _entry(client, path, before or "") is None
    return Change(path, before, _changed(client, path, before or "", entry), fresh)


def uninstalling(client: Client, path: Path) -> Change:
    """Return the change that takes our server out of a file. Raises `Rejected` (config_unreadable)."""
    before = _read(path)
    if before is None or (entry := _entry(client, path, before)) is None:
        return Change(path, before, before, fresh=True)
    kept = _read(path.with_name(path.name + BACKUP))
    if _changed(client, path, kept or "", entry) == before:
        return Change(path, before, kept, fresh=False)
    return Change(path, before, _changed(client, path, before, None), fresh=False)


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
        raise _unusable(change.path, f"it cannot be written: {error.strerror}") from error


def forget_backup(change: Change) -> None:
    """Remove the copy that is wanted no more: our entry is out of the file."""
    change.backup.unlink(missing_ok=True)


def _changed(client: Client, path: Path, text: str, entry: dict[str, Any] | None) -> str:
    where = (client.key, SERVER)
    try:
        if client.form == "toml":
            return tomltext.without_table(text, where) if entry is None else tomltext.with_table(text, where, entry)
        return jsonc.without_member(text, where) if entry is None else jsonc.with_member(text, where, entry)
    except jsonc.Unreadable as error:
        raise _unusable(path, str(error)) from error


def _entry(client: Client, path: Path, text: str) -> dict[str, Any] | None:
    """Return our entry as it stands."""
    try:
        found = tomltext.parse(text) if client.form == "toml" else jsonc.parse(text or "{}").plain
    except jsonc.Unreadable as error:
        raise _unusable(path, str(error)) from error
    for key in (client.key, SERVER):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _read(path: Path) -> str | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise _unusable(path, f"it has {len(data)} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unusable(path, "it is no UTF-8") from error


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


def _unusable(path: Path, why: str) -> Rejected:
    sentence = f"{path} was left as it is: {one_line(why, 300)}; mend it, or add the server by hand (docs/mcp.md)"
    return Rejected("config_unreadable", sentence)
