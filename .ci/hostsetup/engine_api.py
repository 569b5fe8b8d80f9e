"""The few calls of the Engine API that the set-up needs, over the standard library.

Promises: every call is bounded; `ping` never raises and tells apart the five ways in which an engine does not answer.
"""

import errno
import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from hostsetup.endpoint import Endpoint
from hostsetup.talk import Stop

PING_SECONDS = 10.0
CALL_SECONDS = 120.0
ANSWER_BYTES = 64 * 1024 * 1024
LABEL_PREFIX = "io.acp-subagents."
# Images that were imported or built for others to start from carry a name only: containers would inherit a label.
IMAGE_PREFIXES = ("acp-subagents/", "acp-subagents-test/")


class Answer(StrEnum):
    """What happened when the engine was called."""

    ANSWERS = "answers"
    DENIED = "denied"  # the socket is there, this user may not open it
    REFUSED = "refused"  # the address is there, nobody listens
    MISSING = "missing"  # there is no such socket, or no such host
    SILENT = "silent"  # connected, no answer within the bound
    STRANGE = "strange"  # something answers that is no engine, or the scheme is none we speak


@dataclass(frozen=True)
class Ping:
    """An answer with its detail: the engine's name and version, or the reason in the system's words."""

    answer: Answer
    detail: str


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ping(endpoint: Endpoint, *, timeout: float = PING_SECONDS) -> Ping:
    """Ask the engine for a sign of life; `timeout` in seconds."""
    try:
        status, server, _ = _call(endpoint, "GET", "/_ping", timeout)
    except TimeoutError:
        return Ping(Answer.SILENT, f"no answer within {timeout:.0f} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Ping(_answer_of(error), str(error) or type(error).__name__)
    if status != http.HTTPStatus.OK:
        return Ping(Answer.STRANGE, f"HTTP status {status}")
    return Ping(Answer.ANSWERS, server or "an engine")


@dataclass(frozen=True)
class Thing:
    """One object of the engine: its id, a name for people, whether our label is on it, whether it runs."""

    id: str
    name: str
    ours: bool
    running: bool = False


class EngineApi:
    """Listing and removing; any failure is Stop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def containers(self) -> list[Thing]:
        found = self._json("/containers/json?all=1") or []
        return [
            Thing(one["Id"], one["Names"][0].lstrip("/"), _ours(one), running=one["State"] in ("running", "paused"))
            for one in found
        ]

    def volumes(self) -> list[Thing]:
        found = self._json("/volumes").get("Volumes") or []
        return [Thing(one["Name"], one["Name"], _ours(one)) for one in found]

    def images(self) -> list[Thing]:
        found = self._json("/images/json") or []
        things = []
        for one in found:
            names = one.get("RepoTags") or []
            ours = _ours(one) or any(name.startswith(IMAGE_PREFIXES) for name in names)
            things.append(Thing(one["Id"], names[0] if names else one["Id"][7:19], ours))
        return things

    def remove(self, kind: str, thing: Thing) -> None:
        """Remove one of `containers`, `volumes`, `images`; one that is gone already counts as removed."""
        path = f"/{kind}/{quote(thing.id, safe='')}" + ("" if kind == "volumes" else "?force=1")
        status, body = self._call("DELETE", path)
        if status >= http.HTTPStatus.BAD_REQUEST and status != http.HTTPStatus.NOT_FOUND:
            raise Stop(f"The engine would not remove {thing.name} ({kind}): {body[:300].decode('utf-8', 'replace')}")

    def _json(self, path: str) -> Any:
        status, body = self._call("GET", path)
        if status != http.HTTPStatus.OK:
            raise Stop(f"The engine answered {path} with HTTP status {status}; see its log.")
        return json.loads(body)

    def _call(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            status, _, body = _call(self._endpoint, method, path, CALL_SECONDS)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Stop(f"The engine at {self._endpoint.url} failed on {method} {path}: {error}") from error
        return status, body


def _answer_of(error: Exception) -> Answer:
    for kind, answer in (
        (PermissionError, Answer.DENIED),
        (ConnectionRefusedError, Answer.REFUSED),
        ((FileNotFoundError, socket.gaierror), Answer.MISSING),
    ):
        if isinstance(error, kind):
            return answer
    away = isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTDIR)
    return Answer.MISSING if away else Answer.STRANGE


def _ours(one: dict[str, Any]) -> bool:
    return any(key.startswith(LABEL_PREFIX) for key in one.get("Labels") or {})


def _call(endpoint: Endpoint, method: str, path: str, timeout: float) -> tuple[int, str, bytes]:
    connection = _connection(endpoint, timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Server", ""), answer.read(ANSWER_BYTES)
    finally:
        connection.close()


def _connection(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(endpoint.url)
    if parts.scheme == "unix":
        return _UnixConnection(parts.netloc + parts.path, timeout)
    if parts.scheme not in ("tcp", "http", "https") or not parts.hostname:
        raise ValueError(f"{endpoint.url!r} is no unix:// or tcp:// address")
    if endpoint.tls is None and parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=timeout)
    context = _tls_context(endpoint.tls) if endpoint.tls else ssl.create_default_context()
    return http.client.HTTPSConnection(parts.hostname, parts.port or 2376, timeout=timeout, context=context)


def _tls_context(folder: Path) -> ssl.SSLContext:
    authority, certificate = folder / "ca.pem", folder / "cert.pem"
    context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    if certificate.exists():
        context.load_cert_chain(certificate, folder / "key.pem")
    return context
