"""Renewing a token of OAuth, one process at a time, and the file that it is written back to.

In the file of the lock stands the digest of the login that its vendor renews no more, so that nobody takes it for good.

For threads: each call blocks, and each has a bound.
"""

import fcntl
import http.client
import json
import os
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from acp_runtime.core.errors import Rejected
from acp_runtime.keys.client import Client

__all__ = ["NotRenewed", "is_dead", "locked", "mark_dead", "renewed", "replace_file"]

SECONDS: Final = 10.0  # in which the vendor says nothing
IN_ALL: Final = 45.0  # seconds for a renewal, however slowly the answer comes
TURNS: Final = 450  # tries for the lock, a fifth of a second each: whoever holds it is done within `IN_ALL`
_BYTES: Final = 262_144
_REFUSED: Final = frozenset((400, 401, 403))


class NotRenewed(Exception):  # noqa: N818 - reads as what happened
    """There is no new token. `final`: nor will the vendor give one for this login."""

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: a token goes to no other address than the one that was asked for."""


def renewed(url: str, client: Client | None, refresh: str | None) -> dict[str, Any]:
    """Ask the vendor for new tokens and return its answer. Raises NotRenewed, which holds nothing of either.

    A client with a secret asks by a form, as OAuth has it, the others by JSON, as their programs do.
    """
    if client is None:
        raise NotRenewed("its vendor's program, by which it would be, is not on the PATH of this process", final=True)
    if not refresh:
        raise NotRenewed("there is nothing to renew it with", final=True)
    body = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": client.id}
    kind, content = "application/json", json.dumps(body)
    if client.secret:
        kind, content = "application/x-www-form-urlencoded", urlencode({**body, "client_secret": client.secret})
    headers = {"content-type": kind, "accept": "application/json", "user-agent": "acp-subagents"}
    request = urllib.request.Request(url, content.encode(), headers)  # noqa: S310 - checked by who gave it
    try:
        found = json.loads(_within(IN_ALL, lambda: _answer(request)))
    except urllib.error.HTTPError as error:
        error.close()
        raise NotRenewed(f"the vendor answered {error.code}", final=error.code in _REFUSED) from None
    except (OSError, http.client.HTTPException) as error:  # which may quote what it could not read
        why = getattr(error, "reason", error)
        why = getattr(why, "strerror", None) or type(why).__name__
        raise NotRenewed(f"the vendor could not be asked ({why})", final=False) from None
    except (ValueError, RecursionError):
        raise NotRenewed("the vendor's answer is no JSON", final=False) from None
    if not isinstance(found, dict):
        raise NotRenewed("the vendor's answer holds no token", final=False)
    return found


def _answer(request: urllib.request.Request) -> bytes:
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
        content: bytes = answer.read(_BYTES)
        return content


def _within(seconds: float, work: Callable[[], bytes]) -> bytes:
    """Return what comes of `work`. Raises what it does, and TimeoutError: then its thread is left to itself.

    Nothing cuts a lookup of a name short, or an answer that comes byte by byte.
    """
    done: Future[bytes] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=run, name="renewal of a login", daemon=True).start()
    return done.result(seconds)


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock of a file, which lies beside it. Raises Rejected (`key_unreadable`)."""
    try:
        descriptor = os.open(_lock(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(name, error) from error
    try:
        for turn in range(TURNS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2 if turn else 0.05)
        else:
            sentence = f"The login {name} is being renewed by another process that does not end; end it, or wait."
            raise Rejected("key_unreadable", sentence)
        yield
    finally:
        os.close(descriptor)


def mark_dead(path: Path, digest: bytes) -> None:
    """Note that the vendor renews this login no more; for who holds the lock. One that cannot be noted is asked for."""
    with suppress(OSError):
        _lock(path).write_bytes(digest)


def is_dead(path: Path, digest: bytes) -> bool:
    """Tell whether its vendor has refused to renew this very login."""
    with suppress(OSError):
        return _lock(path).read_bytes() == digest
    return False


def _lock(path: Path) -> Path:
    return Path(f"{path}.subagents-lock")


def replace_file(path: Path, content: bytes, name: str) -> None:
    """Put new content in the place of a file, with its mode. Raises Rejected (`key_unreadable`)."""
    path = path.resolve()
    new = path.with_name(f".{path.name}.subagents-{os.getpid()}")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise _unwritable(name, error) from error


def _unwritable(name: str, error: OSError) -> Rejected:
    sentence = f"The login {name} cannot be written back: {error.strerror}; see that its folder is yours to change."
    return Rejected("key_unreadable", sentence)
