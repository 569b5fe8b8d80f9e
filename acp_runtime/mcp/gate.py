"""Who may come in over HTTP: who names this address and nothing else, and has the token.

A page of a browser can reach a loopback port, by another name too (DNS rebinding): `Host` and `Origin` say so.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import mcp_types as types
from starlette.responses import Response

PATH: Final = "/mcp"
_NAMES: Final = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A request that is not taken: its status, and one sentence."""

    status: int
    sentence: str
    headers: dict[str, str] = field(default_factory=dict)
    code: int = types.INVALID_REQUEST

    def response(self) -> Response:
        """Return it as an error of the protocol, which is nobody's answer."""
        error = types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=self.code, message=self.sentence))
        body = error.model_dump_json(by_alias=True, exclude_unset=True)
        return Response(body, self.status, self.headers | {"Connection": "close"}, "application/json")


@dataclass(frozen=True, slots=True)
class Gate:
    """What a request at a port must say."""

    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{_NAMES[0]}:{self.port}{PATH}"

    def refusal(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> TurnedAway | None:
        """Return why a request may not come in, None for one that may."""
        if path != PATH:
            return TurnedAway(404, f"nothing is served here; MCP is at {PATH}")
        given: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            given.setdefault(name.lower(), []).append(value)
        hosts = [f"{name}:{self.port}".encode() for name in _NAMES]
        if [each for each in given.get(b"host", [b""]) if each not in hosts]:
            return TurnedAway(421, f"the header Host names another server; this one is {_NAMES[0]}:{self.port}")
        if [each for each in given.get(b"origin", []) if each not in [b"http://" + host for host in hosts]]:
            return TurnedAway(403, "the header Origin names another site; pages of browsers may not come in")
        if not self._has_token(given.get(b"authorization", [])):
            sentence = "the header Authorization must be `Bearer` and the token; `subagents status` names its file"
            return TurnedAway(401, sentence, {"WWW-Authenticate": 'Bearer realm="subagents"'})
        return None

    def _has_token(self, given: list[bytes]) -> bool:
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token.encode())
