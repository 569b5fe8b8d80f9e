"""A scripted provider of tokens: gives new ones for the newest refresh token it gave, once, as vendors do."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from acp_runtime.clock import SystemClock


def now() -> float:
    return SystemClock().wall().timestamp()


def token(name: str, *, expires_in: float = 3600) -> str:
    """Return a JSON web token in form; nobody signed it."""
    body = base64.urlsafe_b64encode(json.dumps({"exp": int(now() + expires_in), "n": name}).encode())
    return f"head.{body.decode().rstrip('=')}.canary-{name}"


class TokenProvider:
    """A context manager. `asked` are the bodies of the requests, `status` what is answered instead of tokens, `raw`
    what is said instead of an answer; with `drips` that never comes to its end; `heard` is set with the first."""

    def __init__(self, *, refresh: str = "canary-refresh-0") -> None:
        self.asked: list[dict[str, Any]] = []
        self.refresh = refresh
        self.status = 200
        self.raw = b""
        self.drips = False
        self._over = threading.Event()
        self.heard = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["content-length"])).decode()
                form = self.headers["content-type"] == "application/x-www-form-urlencoded"
                body = dict(parse_qsl(sent, strict_parsing=True)) if form else json.loads(sent)
                status, answer = outer.answer(body)
                if outer.raw:
                    self.wfile.write(outer.raw)
                    return
                self.send_response(status)
                self.send_header("location", "/elsewhere")
                self.end_headers()
                while outer.drips and not outer._over.wait(0.01):
                    self.wfile.write(b" ")
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        with self._lock:
            self.asked.append(body)
            self.heard.set()
            if self.status != 200:
                return self.status, b"{}"
            if body["refresh_token"] != self.refresh:
                return 400, b'{"error": "invalid_grant"}'
            number = len(self.asked)
            self.refresh = f"canary-refresh-{number}"
            access = token(f"access-{number}")
            new = {"access_token": access, "refresh_token": self.refresh, "expires_in": 3600, "id_token": "id"}
            return 200, json.dumps(new).encode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
