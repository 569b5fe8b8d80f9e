"""The server of the scripted model: sockets, threads, what was asked, and how often a round has failed.

Promises: a stop ends every connection and joins every thread; a client that went away ends its pause at once; memory
for recorded requests and failures is bounded.
"""

import json
import select
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Self

from . import chat_completions, gemini, messages, responses
from .asked import Answer, Ask
from .results import filled
from .script import Fail, Pause, Round, Say, ScriptError, round_at
from .tools import call_for

BODY_LIMIT = 32 << 20
"""Bytes of one request body."""
RECORD_LIMIT = 64 << 20
"""Bytes of all recorded bodies; the oldest requests go first."""
RECORD_COUNT = 1000
FAILURE_COUNT = 1000
"""Rounds of which the number of failures is remembered."""
IDLE_SECONDS = 120.0
"""A kept connection without a request is closed after this time."""
STOP_SECONDS = 10.0
FORMATS = {each.PATH: each for each in (chat_completions, responses, messages)} | {
    "/chat/completions": chat_completions
}
"""The wire formats by the path of their requests; Copilot's API has no version, `gemini` a path for each model."""
MODEL = "scripted"
ERRAND_TEXT = "Scripted errand"


@dataclass(frozen=True)
class Recorded:
    """One request: header names in lower case, the body as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _State:
    """What the connections of one server share, behind one lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: deque[Recorded] = deque()
        self._bytes = 0
        self._failed: OrderedDict[str, int] = OrderedDict()

    def record(self, request: Recorded) -> None:
        with self._changed:
            self._records.append(request)
            self._bytes += len(request.body)
            while len(self._records) > RECORD_COUNT or (self._bytes > RECORD_LIMIT and len(self._records) > 1):
                self._bytes -= len(self._records.popleft().body)
            self._changed.notify_all()

    def records(self) -> list[Recorded]:
        with self._changed:
            return list(self._records)

    def wait_for(self, wanted: Callable[[Recorded], bool], timeout: float) -> Recorded:
        with self._changed:
            found = self._changed.wait_for(lambda: next(filter(wanted, self._records), None), timeout)
        if found is None:
            raise TimeoutError(f"The scripted model got no such request within {timeout:g} s.")
        return found

    def fails_now(self, fail: Fail, body: bytes) -> bool:
        """Count one failure of this request; the count starts anew once the request was let through."""
        if fail.times is None:
            return True
        key = sha256(body).hexdigest()
        with self._changed:
            failed = self._failed.pop(key, 0)
            if failed >= fail.times:
                return False
            self._failed[key] = failed + 1
            while len(self._failed) > FAILURE_COUNT:
                self._failed.popitem(last=False)
            return True


class _GoneError(ConnectionError):
    """The client closed its connection, or the server was stopped."""


class _Handler(BaseHTTPRequestHandler):
    """One connection. Its attribute `state` is set by the subclass a server makes for itself."""

    state: _State
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    @property
    def _format(self) -> Any:
        return FORMATS.get(self._path) or gemini.at(self._path) or chat_completions

    def do_GET(self) -> None:
        self.state.record(self._recorded(b""))
        if self._path in {"/v1/models", "/models"}:
            model = {"id": MODEL, "object": "model", "created": chat_completions.CREATED, "owned_by": "tests"}
            self._document(200, json.dumps({"object": "list", "data": [model]}).encode())
        else:
            self._fail(404, f"There is nothing at {self.path}; ask /v1/models.")

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        self.state.record(self._recorded(body))
        if (account := gemini.account(self._path)) is not None:
            self._document(200, account)
            return
        if self._path not in FORMATS and gemini.at(self._path) is None:
            self._fail(404, f"There is nothing at {self.path}; post to {' or '.join((*FORMATS, gemini.PATH))}.")
            return
        try:
            ask = self._format.read(json.loads(body))
        except ValueError as error:
            self._fail(400, str(error))
            return
        self._answer(ask, body)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_LIMIT:
            self.close_connection = True
            status = 413 if length.isdecimal() else 411
            self._fail(status, f"A body of 0 to {BODY_LIMIT} bytes with its length is needed.")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _GoneError
        return body

    def _recorded(self, body: bytes) -> Recorded:
        return Recorded(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)

    def _answer(self, ask: Ask, body: bytes) -> None:
        try:
            played = round_at(filled(ask), ask.results) if ask.script and ask.offers else Round([Say(ERRAND_TEXT)])
            call = call_for(played.call, ask.offers) if played.call else None
        except ScriptError as error:
            played, call = Round([Say(str(error))]), None
        if played.fail and self.state.fails_now(played.fail, body):
            self._pause(played.before)
            self._fail(played.fail.status, f"The script says fail with {played.fail.status}.")
        elif ask.streaming:
            self._stream(ask, Answer(played.items, call))
        else:
            self._pause(sum(item.seconds for item in played.items if isinstance(item, Pause)))
            self._document(200, self._format.whole(ask, Answer(played.items, call)))

    def _fail(self, status: int, message: str) -> None:
        self._document(status, self._format.failure(status, message))

    def _document(self, status: int, document: bytes) -> None:
        known = status in HTTPStatus.__members__.values()
        self.send_response(status, None if known else "Scripted")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(document)

    def _stream(self, ask: Ask, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in self._format.events(ask, answer):
            if isinstance(event, Pause):
                self._pause(event.seconds)
            else:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def _pause(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        if seconds and poll.poll(seconds * 1000):
            raise _GoneError


class _Server(ThreadingMixIn, TCPServer):
    """Threads that are joined, connections that can be ended from outside."""

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, state: _State, where: tuple[str, int] | str) -> None:
        self.address_family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = False
        handler = type("Handler", (_Handler,), {"state": state, "disable_nagle_algorithm": not isinstance(where, str)})
        super().__init__(where, handler)  # type: ignore[arg-type]  # the base class is typed for AF_INET only

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if self._closing:
                self.shutdown_request(request)
                return
            self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def end(self) -> None:
        """Stop listening, end every connection, join every thread."""
        self.shutdown()
        with self._lock:
            self._closing = True
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class ScriptedModel:
    """A running model server; a context manager. Exactly one of `port` (0 = any free) and `unix` is used.

    `base_url` is what an agent is given (TCP only). Requests of all connections are recorded in the order they came.
    """

    def __init__(self, *, port: int = 0, host: str = "127.0.0.1", unix: Path | None = None) -> None:
        self.unix = unix
        self._state = _State()
        self._server = _Server(self._state, str(unix) if unix else (host, port))
        self.host = host
        self.port = 0 if unix else self._server.socket.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="scripted-model", kwargs={"poll_interval": 0.05}
        )

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    @property
    def requests(self) -> list[Recorded]:
        """The recorded requests, oldest first: at most RECORD_COUNT, and RECORD_LIMIT bytes."""
        return self._state.records()

    def wait_for(self, wanted: Callable[[Recorded], bool], *, timeout: float = 30.0) -> Recorded:
        """Return the first recorded request that is wanted, waiting for it. Raises TimeoutError after `timeout` s."""
        return self._state.wait_for(wanted, timeout)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.end()
        self._thread.join(STOP_SECONDS)
        if self.unix:
            self.unix.unlink(missing_ok=True)
