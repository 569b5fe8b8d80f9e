"""A proxy on a unix socket, and a host on loopback to which every name leads: what gets through, arrives."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acp_runtime.carrying import CarryingLimits, HttpServer
from acp_runtime.egress.contact import Contact
from acp_runtime.egress.proxy import EgressLimits, EgressProxy, Policy
from acp_runtime.egress.registry import Registry
from acp_runtime.egress.resolving import Resolver
from acp_runtime.egress.rules import Rules

HERE = "127.0.0.1:8791"
BOUND = 60.0  # seconds; a hang, not a speed
CERTIFICATE = Path(__file__).parents[1] / "fixtures" / "tls" / "upstream.pem"


@dataclass
class Host:
    """A listener that notes each connection and answers with what it was told."""

    port: int = 0
    connections: int = 0
    heard: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None, bound: float = BOUND) -> AsyncIterator[Host]:
    """Listen inside of the block, which takes no longer than `bound` seconds."""
    host, tasks = Host(), set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                host.heard.append(data)
                writer.write(host.answer)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    async with asyncio.timeout(bound), await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls) as server:
        host.port = server.sockets[0].getsockname()[1]
        yield host
        await asyncio.gather(*tasks)


def tls_of_a_host() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@dataclass
class Site:
    """The proxy, the host behind it, what it told, and which names were looked up."""

    path: Path
    host: Host
    proxy: EgressProxy
    contacts: list[Contact]
    looked_up: list[str]

    async def say(self, text: bytes) -> bytes:
        """Everything that comes back for these bytes, up to the end of the connection."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(text.replace(b"{p}", b"%d" % self.host.port))
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def tunnel(self, name: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """An open tunnel, in which nothing was said yet."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(f"CONNECT {name}:{self.host.port} HTTP/1.1\r\nhost: {name}:{self.host.port}\r\n\r\n".encode())
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def site(
    folder: Path,
    rules: Sequence[str] = (),
    *,
    registries: Sequence[Registry] = (),
    names: dict[str, list[str]] | None = None,
    tls: bool = False,
    trust: ssl.SSLContext | None = None,
    limits: EgressLimits | None = None,
    **carrying: float,
) -> AsyncIterator[Site]:
    """`{p}` in a rule is the port of the host. `names` lead elsewhere than to the host."""
    contacts, looked_up = [], []

    def lookup(name: str, port: int) -> list[str]:
        looked_up.append(name)
        return (names or {}).get(name.removesuffix("."), ["127.0.0.1"])

    before = asyncio.all_tasks()
    limited = CarryingLimits(**carrying)
    async with listening(tls_of_a_host() if tls else None) as host:
        policy = Policy(Rules.parse(rule.replace("{p}", str(host.port)) for rule in rules), tuple(registries))
        proxy = EgressProxy(
            policy, contacts.append, here=HERE, carrying=limited, limits=limits, resolver=Resolver(lookup), trust=trust
        )
        path = folder / "egress.sock"
        async with HttpServer(path, os.getgid(), proxy, limited):
            yield Site(path, host, proxy, contacts, looked_up)
    left = [task for task in asyncio.all_tasks() - before if "HttpServer" in repr(task) or "_carry" in repr(task)]
    assert left == []
