"""Where a request goes on to."""

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import h11

from acp_runtime.carrying.headers import Carries, Headers
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.peer import CHUNK, HttpPeer
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.rewriting import Rewriting

__all__ = ["DEFAULT_PORTS", "Onward", "Upstream", "authority"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DEFAULT_PORTS = {"http": 80, "https": 443}


def authority(scheme: str, host: str, port: int) -> str:
    """Return host and port as they stand in a `Host` header."""
    host = f"[{host}]" if ":" in host else host
    return host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server: by TLS where `trust` is given. `noun` is what sentences call it.

    `addresses` are where it is, numeric, in the order in which they are tried; without any the system finds the host.
    """

    host: str
    port: int
    trust: ssl.SSLContext | None
    noun: str
    addresses: tuple[str, ...] = ()

    @property
    def scheme(self) -> str:
        return "https" if self.trust else "http"

    @property
    def authority(self) -> str:
        return authority(self.scheme, self.host, self.port)

    async def dial(self, limits: CarryingLimits) -> HttpPeer:
        """Connect, for HTTP. Raises Refusal."""
        reader, writer = await self.connect(limits)
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.head_bytes)
        return HttpPeer(http, reader, writer, limits.idle_seconds)

    async def connect(self, limits: CarryingLimits) -> Streams:
        """Connect. Raises Refusal."""
        bound = limits.connect_seconds
        what = f"The {self.noun} at {self.scheme}://{self.authority}"
        try:
            async with asyncio.timeout(bound):
                return await self._first_that_answers(bound)
        except TimeoutError as error:
            raise Refusal(504, "upstream_unreachable", f"{what} took no connection within {bound:g} s.") from error
        except ssl.SSLError as error:
            why = f"{what} is not trusted: {getattr(error, 'verify_message', '') or error.reason}."
            raise Refusal(502, "upstream_untrusted", why) from error
        except (OSError, UnicodeError) as error:
            why = f"{what} cannot be reached: {_reason(error)}."
            raise Refusal(502, "upstream_unreachable", why) from error

    async def _first_that_answers(self, bound: float) -> Streams:
        """Try one address after the other; one that is silent leaves the next its share of the time."""
        *others, last = self.addresses or (self.host,)
        for address in others:
            try:
                async with asyncio.timeout(bound / (len(others) + 1)):
                    return await self._connect(address)
            except ssl.SSLError:
                raise
            except OSError:  # a TimeoutError is one
                continue
        return await self._connect(last)

    async def _connect(self, address: str) -> Streams:
        name = self.host if self.trust else None
        return await asyncio.open_connection(address, self.port, ssl=self.trust, server_hostname=name, limit=CHUNK)


@dataclass(frozen=True, slots=True)
class Onward:
    """What one request becomes: its target at the upstream, and the headers that are added for it there.

    `carries` tells which of the client's headers go on; the others are dropped without a word.
    `secret` is taken out of the answer, wherever it stands in it. `rewriting` changes the answer's addresses.
    `answered` hears the status before the client does; it returns at once, or raises Refusal for what the client is to
    get instead.
    """

    upstream: Upstream
    target: bytes
    carries: Carries
    credentials: Headers = field(default_factory=list, repr=False)
    secret: bytes | None = field(default=None, repr=False)
    rewriting: Rewriting | None = None
    answered: Callable[[int], None] = lambda _: None


def _reason(error: OSError | UnicodeError) -> str:
    """Return the system's word for an error: asyncio has `Connect call failed` and the address in its place."""
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
