"""Where the engine is expected: the same order as Docker's own client.

DOCKER_HOST, else DOCKER_CONTEXT, else the current context of Docker's configuration, else the default socket. This
stands here a second time (the product leaves it to docker-py) because it must run before anything is installed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostsetup.talk import ENGINE_UNAVAILABLE, Stop

DEFAULT_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Endpoint:
    """An address and why it was chosen; `chosen` is false for the default socket alone."""

    url: str
    source: str
    chosen: bool
    tls: Path | None = None  # folder with ca.pem, cert.pem, key.pem; None without TLS


def default_endpoint() -> Endpoint:
    """Return the socket that an engine of this machine listens on."""
    return Endpoint(f"unix://{DEFAULT_SOCKET}", "the default socket", chosen=False)


def resolve(environ: Mapping[str, str], home: Path) -> Endpoint:
    """Return the endpoint in force. Raises Stop when a context is named that is not there or cannot be read."""
    config = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    host = environ.get("DOCKER_HOST", "")
    if host:
        tls = Path(environ.get("DOCKER_CERT_PATH") or config) if environ.get("DOCKER_TLS_VERIFY") else None
        return Endpoint(host, "DOCKER_HOST", chosen=True, tls=tls)
    context = environ.get("DOCKER_CONTEXT") or _current_context(config / "config.json")
    if context in ("", "default"):
        return default_endpoint()
    return _of_context(context, config / "contexts")


def _current_context(config: Path) -> str:
    if not config.exists():
        return ""
    name = _read(config, "Docker's configuration").get("currentContext", "")
    return name if isinstance(name, str) else ""


def _of_context(name: str, contexts: Path) -> Endpoint:
    folder = hashlib.sha256(name.encode()).hexdigest()
    meta = contexts / "meta" / folder / "meta.json"
    if not meta.exists():
        raise Stop(
            f"Docker's current context is {name!r}, but there is no such context; "
            "see `docker context ls`, then `docker context use NAME` (or unset DOCKER_CONTEXT).",
            code=ENGINE_UNAVAILABLE,
        )
    endpoints = _read(meta, f"the context {name!r}").get("Endpoints", {})
    docker = endpoints.get("docker", {}) if isinstance(endpoints, dict) else {}
    host = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(host, str) or not host:
        raise Stop(f"Docker's context {name!r} names no engine ({meta}); choose another.", code=ENGINE_UNAVAILABLE)
    tls = contexts / "tls" / folder / "docker"
    return Endpoint(host, f"the context {name!r}", chosen=True, tls=tls if tls.is_dir() else None)


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Stop(f"{path} ({what}) cannot be read: {error}; mend or remove it.", code=ENGINE_UNAVAILABLE) from error
    return value if isinstance(value, dict) else {}
