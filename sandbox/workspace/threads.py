"""Blocking reads off the event loop, never left behind: a cancelled caller waits for the piece of work at hand."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TypeVar

__all__ = ["in_thread", "pieces"]

T = TypeVar("T")


async def in_thread(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """Do `work` in a thread and return its result. When the caller is cancelled, `stop` makes `work` return soon."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # taken note of: the cancellation is what the caller hears
        raise


async def pieces(source: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """Yield what a blocking generator does, each piece made in a thread; the generator is closed at the end."""
    with contextlib.closing(source):
        while piece := await in_thread(lambda: next(source, b""), stop=lambda: None):
            yield piece
