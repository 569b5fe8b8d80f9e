"""Files in which hosts read how their one-shot subagents stand: Markdown, written whole or not at all.

A file is made from the log alone, so a manager that was killed goes on with it. It lies below the workspace of the
host, which is not trusted: a symbolic link on the way to it is refused, never followed. What cannot be written is
logged; it costs the subagent nothing.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final

from acp_runtime.beside import beside
from acp_runtime.core.errors import StoreError
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.core.telling import tell
from acp_runtime.store.projections import Row
from acp_runtime.store.store import Store

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5
PROGRESS_LINES: Final = 50
PROGRESS_EVENTS: Final = 400
LINE_CHARS: Final = 300
CHECKED_AT_START: Final = 50
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OVER: Final = ("stopped", "failed")

FOUND: Final = (
    "SELECT subagent.*, task.text, task.state AS task_state, task.result, task.cause AS task_cause, "
    "(SELECT json_extract(data, '$.limits.lifetime') FROM event WHERE stream = subagent.id AND version = 1) "
    "AS lifetime FROM subagent "
    "JOIN task ON task.subagent = subagent.id AND task.number = 1 WHERE one_shot AND output_file IS NOT NULL "
)


class OutputFiles:
    """Keeps the files of one store in step with its log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = 0

    @classmethod
    @asynccontextmanager
    async def kept(cls, store: Store) -> AsyncIterator[None]:
        """Keep the files inside the block; leaving it writes what happened last."""
        self = cls(store)
        await self._begin()
        try:
            async with beside(output_files=self._run):
                yield
        finally:
            await self._write_changed()

    async def _begin(self) -> None:
        """Correct what an earlier manager wrote last. A file that somebody took away is not made again."""
        rows = await self._store.query("SELECT coalesce(max(seq), 0) AS seq FROM event")
        self._seq = int(rows[0]["seq"])
        for row in await self._store.query(FOUND + "ORDER BY created_seq DESC LIMIT ?", CHECKED_AT_START):
            await self._write(row, anew=row["lifecycle"] not in OVER)

    async def _run(self) -> None:
        while True:
            tick = self._store.tick
            await self._write_changed()
            await self._store.changed(tick)
            # A flood of talk is written twice a second, not at each word.
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write_changed(self) -> None:
        try:
            rows = await self._store.query(FOUND + "AND updated_seq > ? ORDER BY updated_seq", self._seq)
        except StoreError as error:
            log.warning("the output files could not be brought up to date: %s", error)
            return
        for row in rows:
            await self._write(row, anew=True)
            self._seq = max(self._seq, row["updated_seq"])

    async def _write(self, row: Mapping[str, Any], *, anew: bool) -> None:
        path = PurePosixPath(row["output_file"])
        try:
            if events := await self._store.newest(row["id"], PROGRESS_EVENTS):  # else its log was deleted meanwhile
                text = render(row, events)
                await asyncio.to_thread(write_below, Path(row["workspace"]), path, text.encode(), anew=anew)
        except (OSError, StoreError) as error:
            log.warning("the output file %s of %s could not be written: %s", path, row["id"], error)


def render(row: Mapping[str, Any], events: list[Row]) -> str:
    """Return the file's text. `row` is the subagent with its task, `events` are its newest."""
    lifetime = row["lifetime"]
    facts = {
        "ID": row["id"],
        "Status": status(row),
        "Goal": one_line(row["text"], LINE_CHARS),
        "Started At": f"{row['created_wall']}Z",
        "Last Activity At": f"{row['updated_wall']}Z",
        "Max Duration At": _later(row["created_wall"], lifetime) if lifetime is not None else None,
        "Child Session ID": row["session_id"],
        "Profile": row["preset"],
    }
    lines = [f"# Async Delegate {row['name']}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if value]
    lines += ["", "## Progress", "", *(_progress(events) or ["Nothing yet."]), "", "## Result", "", _result(row), ""]
    return "\n".join(lines)


def status(row: Mapping[str, Any]) -> str:
    """Return how a one-shot subagent stands: its task's end where it has one, else its own status."""
    ended = row["task_state"] not in ("queued", "running", "cancelling")
    return str(row["task_state"] if ended else row["status"])


def _result(row: Mapping[str, Any]) -> str:
    match status(row):
        case "completed":
            return printable(row["result"]).strip() or "It finished without a word."
        case "failed" | "refused" | "cancelled" | "timed_out" | "interrupted":
            said = printable(row["result"]).strip()
            return f"Error: {one_line(row['task_cause'], 1_000)}" + (
                f"\n\nIts last words were:\n\n{said}" if said else ""
            )
        case _:
            return "Still running."


def _progress(events: list[Row]) -> list[str]:
    """Return the newest lines. What the agent says stands on one line each, so that it can form no heading."""
    lines = []
    for row in events:
        told = tell(row.event, lambda _task: "")
        if told is None or not (text := one_line(told.text, LINE_CHARS)):
            continue
        state = f" [{one_line(str(told.data['status']), 20)}]" if "status" in told.data else ""
        lines.append(f"- {row.wall[11:19]} {told.kind}{state}: {text}")
    return lines[-PROGRESS_LINES:]


def _later(wall: str, seconds: float) -> str:
    moment = datetime.fromisoformat(wall).replace(tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_below(root: Path, path: PurePosixPath, data: bytes, *, anew: bool) -> None:
    """Write a file below a folder in one step, with the folders on the way to it.

    Without `anew` only a file that is there is replaced. Raises `OSError`, also for a symbolic link on the way.
    """
    folder = os.open(root, FOLDER)
    try:
        for part in path.parts[:-1]:
            if anew:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder)
            inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        if not anew:
            os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        _replace(folder, path.name, data)
    except FileNotFoundError:
        if anew:
            raise
    finally:
        os.close(folder)


def _replace(folder: int, name: str, data: bytes) -> None:
    partial = f".{name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(partial, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o644, dir_fd=folder), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    # A link that stands under the name is replaced itself; what it points to is not touched.
    os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
