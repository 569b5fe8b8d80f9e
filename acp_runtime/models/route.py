"""The one upstream that a sandbox's model requests go to, and what may go there.

The paths seen inside the sandbox are the upstream's own: only scheme, host and port differ. A route promises that
nothing outside the base path is asked for, that what the client says about who it is never leaves, and that the key
never comes back.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from acp_runtime.carrying.headers import Headers
from acp_runtime.carrying.paths import leaves
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.upstream import DEFAULT_PORTS, authority
from acp_runtime.core.errors import Rejected
from acp_runtime.keys import Key, Secret, serves_login
from acp_runtime.models.said import HEADERS, known_query
from acp_runtime.session.catalogue import KeyForm

__all__ = ["Route"]

# No client of a model needs another one, and with the key an agent could change or delete what its provider keeps.
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"OPTIONS"})


@dataclass(frozen=True, slots=True)
class Route:
    """Scheme, host, port and base path (without a slash at its end) of the upstream, and the key it is given.

    `headers` are those of the client that go on beside the ones that are known.
    """

    scheme: str
    host: str
    port: int
    path: str
    key: Key | None = None
    key_form: KeyForm = "bearer"
    headers: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls, url: str, *, key: Key | None = None, key_form: KeyForm = "bearer", headers: Iterable[str] = ()
    ) -> "Route":
        """Read a base URL like `https://host/v1`. Raises Rejected (`bad_model_url`), which does not repeat the URL."""
        parts = _split(url)
        path = parts.path.rstrip("/")
        if leaves(path.encode("ascii")):
            raise _bad_url("has a path with '.' or '..' in it")
        scheme = parts.scheme
        port = parts.port if parts.port is not None else DEFAULT_PORTS[scheme]
        return cls(scheme, parts.hostname or "", port, path, key, key_form, tuple(headers))

    @property
    def authority(self) -> str:
        """Host and port as they stand in a `Host` header."""
        return authority(self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        """The base URL, as `parse` takes it."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def inside(self, port: int) -> str:
        """Return the base URL for a client in the sandbox, where a relay listens on the loopback port `port`."""
        return f"http://127.0.0.1:{port}{self.path}"

    def admit(self, method: bytes, target: bytes) -> bytes:
        """Return the target to ask the upstream for, with what is known of its query. Raises Refusal."""
        if method not in _METHODS:
            raise Refusal(405, "method_refused", f"The method {_shown(method)} is not carried to the model.")
        target = self._origin_form(target)
        path, _, query = target.partition(b"?")
        base = self.path.encode("ascii")
        if b"#" in target or leaves(path) or not (path == base or path.startswith(base + b"/")):
            raise Refusal(403, "path_refused", f"Only paths under {self.path or '/'} are carried to the model.")
        if self.key is not None and not serves_login(self.key.name, path[len(base) :]):
            raise Refusal(403, "path_refused", f"With {self.key.name} only models are asked, and this path is none.")
        return b"?".join(filter(None, (path, known_query(query))))

    def carries(self, name: bytes) -> bool:
        """Tell whether a client's header goes on."""
        return name in HEADERS or name.decode("ascii") in self.headers

    def credentials(self, secret: Secret) -> Headers:
        """Return the headers that carry what the key is at this time."""
        if self.key_form == "bearer" or secret.beside is not None:
            return [(b"authorization", b"Bearer " + secret.reveal()), *(secret.beside or ())]
        return [(self.key_form.encode("ascii"), secret.reveal())]

    def _origin_form(self, target: bytes) -> bytes:
        if target.startswith(b"/"):
            return target
        origin = f"{self.scheme}://{self.authority}".encode("ascii")
        found = re.match(rb"[A-Za-z]+://[^/?#]*", target)
        if found is not None and found.group().lower() == origin.lower():
            rest = target[found.end() :]
            return rest if rest.startswith(b"/") else b"/" + rest
        raise Refusal(403, "host_refused", f"Only {self.scheme}://{self.authority} is reached through this address.")


def _split(url: str) -> SplitResult:
    # urlsplit drops some control characters without a word.
    if not url.isascii() or any(character <= " " or character in '\\"<>^`{|}\x7f' for character in url):
        raise _bad_url("has characters that do not belong into a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad_url("has a malformed host or port") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        raise _bad_url("is not of the form http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]")
    if "@" in parts.netloc:
        raise _bad_url("holds a user name or password; give a key by its source, such as env:NAME")
    if "?" in url or "#" in url:
        raise _bad_url("has a query or a fragment; give the base address only")
    return parts


def _bad_url(why: str) -> Rejected:
    return Rejected("bad_model_url", f"The model's base URL {why}.")


def _shown(method: bytes) -> str:
    return method[:20].decode("ascii", "replace")
