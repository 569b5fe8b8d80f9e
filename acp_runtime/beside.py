"""Work that goes on beside a block until its end, such as a watch.

Promises: none of it outlives the block; what fails is told to the log at once, for nobody awaits it, and the rest goes
on without it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["beside"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def beside(**work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Have each of these done inside the block, as a task of its name."""
    tasks = [asyncio.create_task(_done(name, each), name=name) for name, each in work.items()]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)


async def _done(name: str, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:
        log.exception("%s has failed, and is not done any more: a bug of ours", name)
