"""What may go wrong while an agent is started or found: how it is told, and that it is undone to the end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from acp_runtime.core.errors import Rejected
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.manager.run_dir import unusable
from sandbox.errors import SandboxError


@contextmanager
def in_launch() -> Iterator[None]:
    """Have what is raised inside the block told as a `LaunchError` of the same kind."""
    try:
        yield
    except (SandboxError, Rejected, GatewayError) as error:
        raise LaunchError(error.kind, str(error)) from error
    except OSError as error:
        raise unusable(error) from error


async def surely(verb: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run a bounded clean-up to its end also when the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(verb(*args))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
