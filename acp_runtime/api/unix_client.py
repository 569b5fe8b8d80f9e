"""The light client of the daemon: synchronous, and quick to import. The command line is built on it.

Promises: every wait has a bound, a daemon of another version is refused by name, and whatever goes wrong is a
`Rejected` or a `DaemonError`, both with `kind`, `data` and one sentence. A call is sent once and never again.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from acp_runtime import __version__
from acp_runtime.api.errors import BUG, DaemonError, told
from acp_runtime.api.unix_socket import connect, usual_socket
from acp_runtime.callers import Caller, Operator

VERSION_HEADER: Final = "X-Subagents-Version"
TICK_HEADER: Final = "X-Subagents-Tick"
CALL_SECONDS: Final = 150.0
HELLO_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 60.0  # a stream says something every 15 s, if only that it is still there


class UnixClient:
    """A way to the daemon. Holds nothing open between calls, so there is nothing to close."""

    def __init__(self, path: Path | None = None, *, start: bool = True) -> None:
        """Ask the daemon at the socket `path`; by default this user's, started when none answers and `start` holds."""
        self._path = path or usual_socket()
        self._start = start and path is None

    def call(self, method: str, caller: Caller | None, **arguments: Any) -> Any:
        """Have a method of the facade called and return its result as plain JSON values.

        `caller` is None for the few methods that take none (`commit_turn`, `alias`). `arguments` are plain too; an
        argument `seconds` lengthens the bound of the call.
        """
        who = {} if caller is None else {"caller": caller_words(caller)}
        body = json.dumps(who | arguments).encode()
        seconds = CALL_SECONDS + float(arguments.get("seconds") or 0)
        return self._exchange("POST", f"/v1/{method}", body, seconds)

    def hello(self) -> dict[str, Any]:
        """Return version, schema, pid, store id and epoch of the daemon, whatever its version is."""
        found: dict[str, Any] = self._exchange("GET", "/v1/hello", None, HELLO_SECONDS)
        return found

    def hand_over(self) -> dict[str, Any]:
        """Tell the daemon, of any version, to end and leave its subagents to the next one; return its hello."""
        found: dict[str, Any] = self._exchange("POST", "/v1/hand_over", b"{}", HELLO_SECONDS)
        return found

    def stream(self, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield what a stream tells (`/v1/wakeups`, `/v1/events`) until it ends or the iterator is closed."""
        connection = self._connection(SILENCE_SECONDS)
        with closing(connection):
            response = self._answer(connection, "GET", f"{path}?{urlencode(params)}", None)
            if response.status != 200:
                raise told(response.status, _read(response))
            yield from _events(response)

    def _exchange(self, verb: str, path: str, body: bytes | None, seconds: float) -> Any:
        with closing(self._connection(seconds)) as connection:
            response = self._answer(connection, verb, path, body)
            answer = _read(response)
        if response.status != 200:
            raise told(response.status, answer)
        return answer

    def _connection(self, seconds: float) -> HTTPConnection:
        connection = HTTPConnection("localhost", timeout=seconds)
        try:
            connection.sock = self._connect(seconds)
        except OSError as error:
            raise unreachable(self._path, error) from error
        return connection

    def _connect(self, seconds: float) -> socket.socket:
        try:
            return connect(self._path, seconds)
        except (FileNotFoundError, ConnectionRefusedError):
            if not self._start:
                raise
        from acp_runtime.api.start import start_daemon  # noqa: PLC0415 - most calls find a daemon

        start_daemon()
        return connect(self._path, seconds)

    def _answer(self, connection: HTTPConnection, verb: str, path: str, body: bytes | None) -> HTTPResponse:
        headers = {VERSION_HEADER: __version__, "Content-Type": "application/json"}
        try:
            connection.request(verb, path, body, headers)
            return connection.getresponse()
        except (OSError, HTTPException) as error:
            raise lost(error) from error


def caller_words(caller: Caller) -> dict[str, Any]:
    """Return who calls, as the daemon reads it."""
    return {"operator": True} if isinstance(caller, Operator) else {"parent": caller}


def _read(response: HTTPResponse) -> Any:
    try:
        return json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise lost(error) from error


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the data of server-sent events; a comment only says that the daemon is there."""
    try:
        while line := response.readline():
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event and "kind" in event:
                    raise told(int(event.get("status", BUG)), event)
                yield event
    except (OSError, HTTPException, ValueError) as error:
        raise lost(error) from error


def unreachable(path: Path, error: OSError) -> DaemonError:
    """Return the error for a daemon that cannot be connected to."""
    why = "nobody listens there" if isinstance(error, FileNotFoundError) else error.strerror or "no answer in time"
    sentence = f"no daemon can be reached at {path}: {why}; start it with `subagents serve`"
    return DaemonError("daemon_unreachable", sentence)


def lost(error: Exception) -> DaemonError:
    """Return the error for a daemon that went away in the middle of a call."""
    why = "it was silent for too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    sentence = f"the daemon was lost in the middle of a call ({why}); look at what it did before you ask again"
    return DaemonError("daemon_lost", sentence)
