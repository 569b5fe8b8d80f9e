"""The light client of the daemon: synchronous, and quick to import. The command line is built on it.

Promises: every wait has a bound, a daemon of another version is refused by name, and whatever goes wrong is a
`Rejected` or a `DaemonError`, both with `kind`, `data` and one sentence. A call is sent once and never again.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlencode

from acp_runtime import __version__
from acp_runtime.api.errors import BUG, DaemonError, told
from acp_runtime.api.unix_socket import connect, usual_folder, usual_socket
from acp_runtime.callers import Caller, Operator

VERSION_HEADER: Final = "X-Subagents-Version"
FOLDER_HEADER: Final = "X-Subagents-Folder"
TICK_HEADER: Final = "X-Subagents-Tick"
CALL_SECONDS: Final = 150.0
HELLO_SECONDS: Final = 10.0
OK: Final = 200
MAX_LINE: Final = 65_536
END_LINE: Final = b": end\n"
LONGEST_CALL: Final = 24 * 3600.0
SILENCE_SECONDS: Final = 60.0  # a stream says something every 15 s, if only that it is still there


class UnixClient:
    """A way to the daemon. Holds nothing open between calls, so there is nothing to close."""

    def __init__(self, path: Path | None = None, *, start: bool = True, bound: float | None = None) -> None:
        """Ask the daemon at the socket `path`; by default this user's, started when none answers and `start` holds.

        `bound`: seconds after which any call is given up.
        """
        self._path = path or usual_socket()
        self._start = start and path is None
        self._bound = bound
        self._folder = usual_folder() if path is None else None

    def call(self, method: str, caller: Caller | None, **arguments: Any) -> Any:
        """Have a method of the facade called and return its result as plain JSON values.

        `caller` is None for the few methods that take none (`commit_turn`, `alias`). `arguments` are plain too; an
        argument `seconds` lengthens the bound of the call.
        """
        who = {} if caller is None else {"caller": caller_words(caller)}
        body = json.dumps(who | arguments).encode()
        return self._exchange("POST", f"/v1/{method}", body, self._bound or patience(arguments))

    def hello(self) -> dict[str, Any]:
        """Return version, schema, pid, store id and epoch of the daemon, whatever its version is."""
        found: dict[str, Any] = self._exchange("GET", "/v1/hello", None, HELLO_SECONDS)
        return found

    def hand_over(self) -> dict[str, Any]:
        """Tell the daemon, of any version, to end and leave its subagents to the next one; return its hello."""
        found: dict[str, Any] = self._exchange("POST", "/v1/hand_over", b"{}", HELLO_SECONDS)
        return found

    def stream(self, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield what a stream (`/v1/wakeups`, `/v1/events`) tells until nothing will be added, or until closed.

        Raises `Rejected` (closing) when the daemon is being closed: follow again, from the newest cursor.
        """
        with self._connection(SILENCE_SECONDS) as connection:
            status, answer = _ask(connection, "GET", f"{path}?{urlencode(params)}", None, self._folder)
            with answer:
                if status != OK:
                    raise told(status, _read(answer))
                yield from _events(answer)

    def _exchange(self, verb: str, path: str, body: bytes | None, seconds: float) -> Any:
        with self._connection(seconds) as connection:
            status, answer = _ask(connection, verb, path, body, self._folder)
            with answer:
                result = _read(answer)
        if status != OK:
            raise told(status, result)
        return result

    def _connection(self, seconds: float) -> socket.socket:
        try:
            return self._connect(seconds)
        except OSError as error:
            raise unreachable(self._path, error) from error

    def _connect(self, seconds: float) -> socket.socket:
        try:
            return connect(self._path, seconds)
        except (FileNotFoundError, ConnectionRefusedError):
            if not self._start:
                raise
        from acp_runtime.api.start import start_daemon  # noqa: PLC0415 - most calls find a daemon

        start_daemon()
        return connect(self._path, seconds)


def patience(arguments: Mapping[str, Any]) -> float:
    """Return how long the answer to a call may take; what is no number of seconds is the daemon's to refuse."""
    return CALL_SECONDS + min(max(0.0, float(arguments.get("seconds") or 0)), LONGEST_CALL)


def caller_words(caller: Caller) -> dict[str, Any]:
    """Return who calls, as the daemon reads it."""
    return {"operator": True} if isinstance(caller, Operator) else {"parent": caller}


def request_of(verb: str, path: str, body: bytes | None, folder: str | None) -> bytes:
    """Return a request.

    As HTTP/1.0: nothing is chunked then, and the standard library's client, which takes longer to import than all
    else here, is not needed.
    """
    head = (
        f"{verb} {path} HTTP/1.0\r\nHost: localhost\r\n{VERSION_HEADER}: {__version__}\r\n"
        f"{FOLDER_HEADER}: {folder or ''}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body or b'')}\r\n\r\n"
    )
    return head.encode() + (body or b"")


def _ask(
    connection: socket.socket, verb: str, path: str, body: bytes | None, folder: str | None
) -> tuple[int, BinaryIO]:
    """Send a request and return the status and the answer's body, which ends with the connection."""
    try:
        connection.sendall(request_of(verb, path, body, folder))
        answer = connection.makefile("rb")
    except OSError as error:
        raise lost(error) from error
    try:
        return _status(answer), answer
    except (OSError, ValueError) as error:
        answer.close()
        raise lost(error) from error


def _status(answer: BinaryIO) -> int:
    """Read up to the body and return the status. Raises `OSError` and `ValueError`."""
    status = status_of(answer.readline(MAX_LINE))
    while answer.readline(MAX_LINE) not in (b"\r\n", b""):
        pass
    return status


def status_of(line: bytes) -> int:
    """Return the status that the first line of an answer says. Raises `OSError` and `ValueError`."""
    words = line.split()
    if not words:
        raise ConnectionError("it closed the connection without an answer")
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        raise ValueError("what answers there is no daemon of ours")
    return int(words[1])


def _read(answer: BinaryIO) -> Any:
    try:
        return json.loads(answer.read())
    except (OSError, ValueError) as error:
        raise lost(error) from error


def _events(answer: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the data of server-sent events; a comment says that the daemon is there, or that this was all."""
    try:
        while (line := answer.readline()) != END_LINE:
            if not line:
                raise ConnectionError("the stream broke off")
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event and "kind" in event:
                    raise told(int(event.get("status", BUG)), event)
                yield event
    except (OSError, ValueError) as error:
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
