"""The gateways of this user's stores as somebody sees them who only looks."""

import asyncio
import socket as sockets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acp_runtime.gateway.client import CONNECT_SECONDS, GatewayClient, opened
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.place import GatewayPlace, socket_name, store_of

__all__ = ["Seen", "look", "look_at"]

MOST: Final = 100
SECONDS: Final = 3.0
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Seen:
    """One gateway, or the socket that a dead one left: then `pid` is None.

    One that is there and does not `answer` is known by no more than its process. `since` and `last_record`, its newest,
    are moments in ISO form; what is not known is empty. `running` counts what is under way. `alone`: for how many
    seconds it has had no manager, None while it has one; it ends by itself after `ttl` of them.
    """

    socket: str
    store: str
    pid: int | None = None
    answers: bool = False
    version: str = ""
    since: str = ""
    accounts: int = 0
    running: int = 0
    last_record: str = ""
    alone: float | None = None
    ttl: float = 0

    @property
    def words(self) -> str:
        """Say of one that lives whose it is and what becomes of it."""
        whose = f"process {self.pid} of store {self.store}"
        if not self.answers:
            return f"{whose} does not answer; while an agent needs it, its manager replaces it"
        last = f", last record {self.last_record}" if self.last_record else ", no record yet"
        what = f"version {self.version} since {self.since}, {self.accounts} accounts, {self.running} under way{last}"
        if self.alone is None:
            return f"{whose}, {what}"
        return f"{whose}, {what}; no manager for {self.alone:.0f} s, ends by itself after {self.ttl:.0f}"


async def look(folder: Path) -> list[Seen]:
    """Look at the sockets of gateways in a folder. What cannot be reached and is not dead is left out."""
    paths = await asyncio.to_thread(lambda: sorted(folder.glob(socket_name("*")))[:MOST])
    seen = await asyncio.gather(*(_seen(each, store_of(each)) for each in paths))
    return [each for each in seen if each is not None]


async def look_at(place: GatewayPlace) -> Seen | None:
    """Look at the gateway of a store; None where none runs. Bounded; raises nothing."""
    holder = await asyncio.to_thread(place.holder)
    if holder is None:
        return None
    seen = await _seen(Path(holder.socket), place.store)
    return seen if seen is not None and seen.pid is not None else Seen(holder.socket, place.store, holder.pid)


async def _seen(socket: Path, store: str) -> Seen | None:
    try:
        client = await GatewayClient.connect(socket, store, patience=SECONDS)
    except GatewayError as error:
        if error.kind == "gateway_silent":
            return Seen(str(socket), store, pid=await _listener(socket))
        dead = isinstance(error.__cause__, ConnectionRefusedError)
        return Seen(str(socket), store) if dead else None
    hello = client.hello
    try:
        about: dict[str, Any] = await client.ask("about", SECONDS)
    except GatewayError:
        about = {}  # one of an earlier version does not know that question
    finally:
        await client.close()
    alone = hello.get("alone")
    return Seen(
        str(socket), store, pid=int(hello.get("pid", 0)), answers=True, version=str(hello.get("version", "")),
        since=about.get("since") or "", accounts=int(hello.get("accounts", 0)), running=int(about.get("running", 0)),
        last_record=about.get("last_record") or "", alone=None if alone is None else float(alone),
        ttl=float(hello.get("ttl", 0)),
    )  # fmt: skip


async def _listener(socket: Path) -> int | None:
    """Return the process that listens at a socket, which the kernel knows of one that hangs too."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await opened(socket)
    except (OSError, TimeoutError):
        return None
    raw = writer.get_extra_info("socket").getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS.size)
    writer.transport.abort()
    return int(_CREDENTIALS.unpack(raw)[0])
