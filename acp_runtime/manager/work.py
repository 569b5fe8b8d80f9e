"""Exported work on disk: one patch and one small description for each subagent, written whole or not at all.

What was written survives a power cut: what it was taken from is removed next.
A note stands beside it while what it was taken from is removed, so that a later manager knows the rest for what it is.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from acp_runtime.manager.launcher import Work
from acp_runtime.store.ownership import make_folder, sync_names


def write_work(folder: Path, subagent: str, work: Work) -> None:
    """Keep a subagent's work. The description is renamed into place last: where it stands, the patch is whole."""
    make_folder(folder)
    _put(folder / f"{subagent}.patch", work.patch)
    facts = {key: value for key, value in asdict(work).items() if key != "patch"}
    _put(folder / f"{subagent}.json", json.dumps(facts).encode())


def read_work(folder: Path, subagent: str) -> Work | None:
    """Return what `write_work` kept, or None when nothing was."""
    try:
        facts = json.loads((folder / f"{subagent}.json").read_bytes())
        facts["notices"] = tuple(facts["notices"])
        return Work(patch=(folder / f"{subagent}.patch").read_bytes(), **facts)
    except FileNotFoundError:
        return None


def keep_patch(state_dir: Path, name: str, subagent: str, patch: bytes) -> Path:
    """Write a patch that nobody else has to a file that stays, and return its path. Raises OSError."""
    path = state_dir / "patches" / f"{name}-{subagent}.patch"
    make_folder(path.parent)
    _put(path, patch)
    return path


def delete_work(folder: Path, subagent: str) -> int:
    """Delete what `write_work` kept, or left half-written; return how many bytes that frees."""
    freed = 0
    for path in folder.glob(f"{subagent}.*"):
        with suppress(FileNotFoundError):
            freed += path.stat().st_size
            path.unlink()
    return freed


def owners_of_work(folder: Path) -> frozenset[str]:
    """Return the subagents of which there is work, whole or not."""
    return frozenset(path.name.partition(".")[0] for path in folder.glob("*.*"))


def note_removal(folder: Path, subagent: str, attempt: int) -> None:
    """Say that the work of this attempt is written in full, and that what it was taken from is being removed."""
    _put(folder / f"{subagent}.removing", str(attempt).encode())


def removal_noted(folder: Path, subagent: str, attempt: int) -> bool:
    try:
        return (folder / f"{subagent}.removing").read_bytes() == str(attempt).encode()
    except FileNotFoundError:
        return False


def forget_removal(folder: Path, subagent: str) -> None:
    (folder / f"{subagent}.removing").unlink(missing_ok=True)


def work_bytes(folder: Path, subagent: str = "*") -> int:
    """Return how large the kept work of a subagent is, or that of all. What goes meanwhile counts as nothing."""
    size = 0
    for path in folder.glob(f"{subagent}.*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _put(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_names(path.parent)
