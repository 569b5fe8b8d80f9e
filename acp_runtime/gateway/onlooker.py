"""The gateways of this user's stores as somebody sees them who only looks."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.place import socket_name, store_of

__all__ = ["Seen", "look"]

MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """One gateway, or the socket that a dead one left: then `pid` is None.

    `alone`: for how many seconds it has had no manager, None while it has one; it ends by itself after `ttl` of them.
    """

    socket: Path
    store: str
    pid: int | None = None
    accounts: int = 0
    alone: float | None = None
    ttl: float = 0

    @property
    def words(self) -> str:
        """Say of one that lives whose it is and what becomes of it."""
        told = f"process {self.pid} of store {self.store}, {self.accounts} accounts"
        if self.alone is None:
            return told
        return f"{told}; it has had no manager for {self.alone:.0f} s, and ends by itself after {self.ttl:.0f}"


async def look(folder: Path) -> list[Seen]:
    """Look at the sockets of gateways in a folder. What does not answer in time, or not as a gateway, is left out."""
    sockets = await asyncio.to_thread(lambda: sorted(folder.glob(socket_name("*")))[:MOST])
    seen = await asyncio.gather(*(_seen(each) for each in sockets))
    return [each for each in seen if each is not None]


async def _seen(socket: Path) -> Seen | None:
    store = store_of(socket)
    try:
        client = await GatewayClient.connect(socket, store)
    except GatewayError as error:
        dead = isinstance(error.__cause__, ConnectionRefusedError)
        return Seen(socket, store) if dead else None
    hello = client.hello
    await client.close()
    alone = hello.get("alone")
    return Seen(
        socket,
        store,
        pid=int(hello.get("pid", 0)),
        accounts=int(hello.get("accounts", 0)),
        alone=None if alone is None else float(alone),
        ttl=float(hello.get("ttl", 0)),
    )
