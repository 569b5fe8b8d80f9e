"""Where the data of a run goes: standard output or a file.

Promises: a target that cannot be opened is told before anything starts, and a file is neither made nor emptied by a
run that does not begin; a target that fails or that nobody reads later costs the run nothing, `failure` says why.
"""

import asyncio
import json
import os
import select
import stat
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

from acp_runtime.cli.result import Result
from acp_runtime.cli.stdout import for_terminal
from acp_runtime.store.codec import kind_of
from acp_runtime.store.projections import Row

Format = Literal["patch", "text", "json"]

# What a pipe that is ready takes at once (POSIX: PIPE_BUF), so that no write stops the whole program.
PIECE: Final = 4096


class Output:
    """The opened target of one run."""

    def __init__(self, form: Format, path: Path | None) -> None:
        """Open the target. Raises `OSError`."""
        self.form = form
        self.path = path
        self.failure: str | None = None
        self._made = path is not None and not path.exists()
        self._fresh = True
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        elif sys.stdout is None:
            raise OSError(0, "standard output is closed")
        else:
            self._fd = sys.stdout.fileno()
        self._waiting: asyncio.Future[None] | None = None

    async def event(self, row: Row) -> None:
        """Hand out one event; only the JSON form has them."""
        if self.form == "json":
            head = {"type": "event", "seq": row.seq, "time": f"{row.wall}Z", "kind": kind_of(type(row.event))}
            await self._json({**head, "data": asdict(row.event)})

    async def result(self, result: Result, patch_path: Path | None) -> None:
        """Hand out the end of the run in the chosen form."""
        match self.form:
            case "patch":
                patch = result.work.patch if result.work else b""
                await self._write(for_terminal(patch) if os.isatty(self._fd) else patch)
            case "json":
                await self._json({"type": "result", **result.facts()})
            case "text":
                await self._write(result.text(patch_path).encode("utf-8", "replace"))

    def abandon(self) -> None:
        """Wait no longer for a reader that is behind."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(OSError(0, "nobody reads it"))

    def close(self) -> None:
        """Close the file; one that was made here and never written is removed."""
        if self.path is None:
            return
        os.close(self._fd)
        if self._made and self._fresh:
            with suppress(OSError):
                self.path.unlink()

    async def _json(self, value: dict[str, object]) -> None:
        await self._write(json.dumps(value, ensure_ascii=True, default=str).encode() + b"\n")

    async def _write(self, data: bytes) -> None:
        if self.failure is not None:
            return
        try:
            self._begin()
            left = memoryview(data)
            while left:
                await self._room()
                with suppress(BlockingIOError):
                    left = left[os.write(self._fd, left[:PIECE]) :]
        except OSError as error:
            self.failure = error.strerror

    def _begin(self) -> None:
        if self._fresh and self.path is not None and stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.ftruncate(self._fd, 0)
        self._fresh = False

    async def _room(self) -> None:
        """Return when the target takes a piece. What is no pipe, terminal or socket always does."""
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        if ready.poll(0):
            return
        loop = asyncio.get_running_loop()
        waiting = self._waiting = loop.create_future()
        loop.add_writer(self._fd, _resolve, waiting)
        try:
            await waiting
        finally:
            loop.remove_writer(self._fd)
            self._waiting = None


def _resolve(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
