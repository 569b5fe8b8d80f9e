"""Where the engine listens, found the way the docker command finds it, and what it means when nobody answers there.

`resolve` promises one `Endpoint` or one sentence: DOCKER_HOST (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH) wins, then
DOCKER_CONTEXT, then the current context, then /var/run/docker.sock. `ssh://` is refused with the line that forwards the
socket, because the raw stream of a channel cannot be had through it. `explain` turns what the operating system said
into an error of ours: denied, absent, stopped and unreachable have a sentence and a remedy each.
"""

import shlex
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from sandbox.errors import EngineDenied, EngineError, EngineTimeout, EngineUnreachable

DEFAULT_SOCKET = "/var/run/docker.sock"
PLAIN_PORT, TLS_PORT = 2375, 2376


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the client's certificate, its key and the authority's certificate; `verify` checks the engine's."""

    ca: str | None
    cert: str | None
    key: str | None
    verify: bool


@dataclass(frozen=True, slots=True)
class Context:
    """A named docker context: its address and, where it has them, its certificates."""

    url: str
    tls: TlsFiles | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a connection to the engine is opened: `unix_path`, or `host` and `port` with `tls` or without."""

    url: str
    unix_path: str | None = None
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None

    @property
    def base_url(self) -> str:
        """The address in the form that docker-py takes."""
        if self.unix_path is not None:
            return f"unix://{self.unix_path}"
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Make a context for the raw stream, None where it is not encrypted. Raises EngineUnreachable for bad files."""
        if self.tls is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls.ca)
            # Python 3.13 wants key usage in a CA; certificates made as Docker's manual says have none, and docker-py
            # takes them.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if self.tls.cert:
                context.load_cert_chain(self.tls.cert, self.tls.key)
        except OSError as error:  # ssl.SSLError is one too
            raise EngineUnreachable(
                f"The certificates for the engine at {self.url} cannot be used ({error}); "
                "check DOCKER_CERT_PATH: it must hold ca.pem, cert.pem and key.pem."
            ) from error
        if not self.tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def resolve(environ: Mapping[str, str], context_named: Callable[[str | None], Context | None]) -> Endpoint:
    """Find the engine's endpoint; opens no connection.

    `context_named` looks a docker context up by name, None meaning the current one; it answers None for the built-in
    default. Raises EngineUnreachable with a remedy when the address cannot be used.
    """
    if url := environ.get("DOCKER_HOST"):
        return _parse(url, _tls_from(environ), "DOCKER_HOST")
    context = context_named(environ.get("DOCKER_CONTEXT") or None)
    if context is None:
        return Endpoint(url=f"unix://{DEFAULT_SOCKET}", unix_path=DEFAULT_SOCKET)
    return _parse(context.url, context.tls, "the docker context")


def _tls_from(environ: Mapping[str, str]) -> TlsFiles | None:
    verify, folder = bool(environ.get("DOCKER_TLS_VERIFY")), environ.get("DOCKER_CERT_PATH")
    if not verify and not folder:
        return None
    directory = Path(folder) if folder else Path(environ.get("HOME", "/"), ".docker")
    ca, cert, key = (str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    return TlsFiles(ca, cert, key, verify)


def _parse(url: str, tls: TlsFiles | None, origin: str) -> Endpoint:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Endpoint(url=url, unix_path="/" + f"{parts.netloc}{parts.path}".lstrip("/"))
    if parts.scheme == "ssh":
        raise EngineUnreachable(_forwarding(parts, url, origin))
    port = _port(parts)
    if parts.scheme not in {"tcp", "http", "https"} or not parts.hostname or port is None or parts.path.strip("/"):
        raise EngineUnreachable(
            f"{origin} says {url!r}, which is not an address of an engine; write unix:///path/of/docker.sock or tcp://host:port."
        )
    if parts.scheme == "https" and tls is None:
        tls = TlsFiles(ca=None, cert=None, key=None, verify=True)
    return Endpoint(url=url, host=parts.hostname, port=port or (PLAIN_PORT if tls is None else TLS_PORT), tls=tls)


def _port(parts: SplitResult) -> int | None:
    """Read the port: 0 where none is written, None where it is no number."""
    try:
        return parts.port or 0
    except ValueError:
        return None


def _forwarding(parts: SplitResult, url: str, origin: str) -> str:
    host = parts.hostname or "HOST"
    local, remote = f"/tmp/docker-{host}.sock", parts.path if parts.path.strip("/") else DEFAULT_SOCKET  # noqa: S108 - a name in advice
    port = f"-p {parts.port} " if _port(parts) else ""
    target = shlex.quote(f"{parts.username}@{host}" if parts.username else host)
    line = f"ssh -nNT {port}-L {shlex.quote(f'{local}:{remote}')} {target}"
    return (
        f"{origin} says {url!r}, but an engine is not used over ssh:// directly; "
        f"forward its socket with `{line}` and set DOCKER_HOST=unix://{local}."
    )


_DENIED = (
    "The engine socket {where} is there, but this user may not open it; let the user join the group that owns it "
    "(usually `sudo usermod -aG docker $USER`, then log in again), or set DOCKER_HOST to an engine of its own."
)
_ABSENT = (
    "There is no engine at {where}: that socket does not exist; install or start Docker, "
    "or set DOCKER_HOST to the address of an engine."
)
_STOPPED = (
    "The engine at {where} is stopped: the address is there and nothing listens on it; "
    "start it (usually `sudo systemctl start docker`)."
)
_UNKNOWN_HOST = "The engine's host name in {where} cannot be resolved; check DOCKER_HOST or the docker context."
_TLS = (
    "The engine at {where} does not accept this TLS connection ({detail}); "
    "check DOCKER_TLS_VERIFY, DOCKER_CERT_PATH and the certificates in it."
)
_SILENT = (
    "The engine at {where} did not answer in time while asked to {doing}; "
    "check its load, and that the address is that of an engine."
)
_CUT = "The engine at {where} ended the connection while asked to {doing} ({detail}); it may be restarting: try again."
_UNREACHABLE = "The engine at {where} cannot be reached ({detail}); check the address and the network."

# Most specific first: the first row whose class fits is told.
_MEANING: tuple[tuple[type[OSError], type[EngineError], str], ...] = (
    (ssl.SSLEOFError, EngineUnreachable, _CUT),
    (ssl.SSLError, EngineUnreachable, _TLS),
    (socket.gaierror, EngineUnreachable, _UNKNOWN_HOST),
    (PermissionError, EngineDenied, _DENIED),
    (FileNotFoundError, EngineUnreachable, _ABSENT),
    (ConnectionRefusedError, EngineUnreachable, _STOPPED),
    (TimeoutError, EngineTimeout, _SILENT),
    (ConnectionError, EngineUnreachable, _CUT),
    (OSError, EngineUnreachable, _UNREACHABLE),
)


def explain(endpoint: Endpoint, error: OSError, doing: str) -> EngineError:
    """Our error for what the operating system said on the way to the engine; `doing` completes "while asked to"."""
    kind, sentence = next((kind, sentence) for cause, kind, sentence in _MEANING if isinstance(error, cause))
    where = endpoint.unix_path or endpoint.url
    return kind(sentence.format(where=where, doing=doing, detail=error.strerror or str(error) or type(error).__name__))
