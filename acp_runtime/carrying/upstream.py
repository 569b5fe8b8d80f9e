"""Where a request goes on to."""

import asyncio
import ssl
from dataclasses import dataclass, field

import h11

from acp_runtime.carrying.headers import Headers
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.peer import CHUNK, HttpPeer
from acp_runtime.carrying.refusal import Refusal

__all__ = ["DEFAULT_PORTS", "Onward", "Upstream", "authority"]

DEFAULT_PORTS = {"http": 80, "https": 443}


def authority(scheme: str, host: str, port: int) -> str:
    """Return host and port as they stand in a `Host` header."""
    host = f"[{host}]" if ":" in host else host
    return host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server: by TLS where `trust` is given. `noun` is what sentences call it."""

    host: str
    port: int
    trust: ssl.SSLContext | None
    noun: str

    @property
    def scheme(self) -> str:
        return "https" if self.trust else "http"

    @property
    def authority(self) -> str:
        return authority(self.scheme, self.host, self.port)

    async def dial(self, limits: CarryingLimits) -> HttpPeer:
        """Connect. Raises Refusal."""
        bound = limits.connect_seconds
        name = self.host if self.trust else None
        what = f"The {self.noun} at {self.scheme}://{self.authority}"
        try:
            async with asyncio.timeout(bound):
                reader, writer = await asyncio.open_connection(
                    self.host, self.port, ssl=self.trust, server_hostname=name, limit=CHUNK
                )
        except TimeoutError as error:
            raise Refusal(504, "upstream_unreachable", f"{what} took no connection within {bound:g} s.") from error
        except ssl.SSLError as error:
            why = f"{what} is not trusted: {getattr(error, 'verify_message', '') or error.reason}."
            raise Refusal(502, "upstream_untrusted", why) from error
        except (OSError, UnicodeError) as error:
            why = f"{what} cannot be reached: {getattr(error, 'strerror', None) or error}."
            raise Refusal(502, "upstream_unreachable", why) from error
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.head_bytes)
        return HttpPeer(http, reader, writer, limits.idle_seconds)


@dataclass(frozen=True, slots=True)
class Onward:
    """What one request becomes: its target at the upstream, and the headers that are added for it there.

    `secret` is taken out of the answer, wherever it stands in it.
    """

    upstream: Upstream
    target: bytes
    credentials: Headers = field(default_factory=list, repr=False)
    secret: bytes | None = field(default=None, repr=False)
