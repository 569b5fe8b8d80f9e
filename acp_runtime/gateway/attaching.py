"""How the gateway attaches to the relays of sandboxes that share no socket with this machine: by execs of their engine.

What speaks to engines is a third of the gateway's memory, so this is loaded when the first such account is opened.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from acp_runtime.gateway.account import RelayWay
from sandbox.channel import ExecChannel, Receiver
from sandbox.engine import Engine
from sandbox.relay.link import RelayLink

__all__ = ["Engines"]


class Engines:
    """The engines by which relays are attached to, each connected to at its first use. Owner: the gateway."""

    def __init__(self) -> None:
        self._engines: dict[tuple[tuple[str, str], ...], Engine] = {}
        self._turn = asyncio.Lock()

    async def attach(self, way: RelayWay, targets: Mapping[int, Path], epoch: int) -> RelayLink:
        """Return a link that holds, for the ports that `targets` has at any time; its owner ends it.

        Raises RelayError, SandboxGone, EngineError.
        """

        async def execute(receiver: Receiver) -> ExecChannel:
            engine = await self._engine(way.engine)
            return await ExecChannel.open(
                engine, way.container, way.argv, user=way.user, cwd="/", env={}, receiver=receiver
            )

        return await RelayLink(execute, targets, token=way.token, epoch=epoch).__aenter__()

    async def close(self) -> None:
        """Give up the connections to all of them."""
        for each in self._engines.values():
            await each.close()
        self._engines.clear()

    async def _engine(self, environ: Mapping[str, str]) -> Engine:
        name = tuple(sorted(environ.items()))
        async with self._turn:
            if name not in self._engines:
                self._engines[name] = await Engine.connect(environ)
            return self._engines[name]
