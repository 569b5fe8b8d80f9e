"""One side of a JSON-RPC 2.0 conversation with a peer that is not trusted, without any I/O.

The peer holds what is asked and not yet answered, and nothing else. It promises that `receive` raises nothing and
answers in wire order whatever arrives; that a line which is no message is told as `Noise` and never ends the
conversation; and that a reply which arrived but cannot be read fails its request instead of leaving it open.
Request ids are `epoch * 2**24 + n`, so that the ids of two owners of one conversation never meet.
"""

from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.wire import jsontext
from acp_runtime.wire.ndjson import Oversized

MAX_PENDING: Final = 1024
MAX_BATCH: Final = 1024
IDS_PER_EPOCH: Final = 2**24
# Peers written in JavaScript hold ids as doubles, which are exact up to 2**53.
MAX_EPOCH: Final = 2**29 - 1
MAX_ID_TEXT: Final = 256
MAX_ERROR_TEXT: Final = 4096
MAX_SHOWN: Final = 1024


@dataclass(frozen=True, slots=True)
class RpcError:
    """Why a request failed. `code` is None when the peer gave none, or when its reply could not be read."""

    code: int | None
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Response:
    """The one answer to our request `id`, which called `method`; `result` means something only without an error."""

    id: int
    result: Any
    error: RpcError | None
    method: str


@dataclass(frozen=True, slots=True)
class Request:
    """A call by the peer; it waits for `respond` or `refuse` with exactly this id. `params` is unchecked."""

    id: int | str
    method: str
    params: Any


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that wants no answer; `params` is unchecked."""

    method: str
    params: Any


@dataclass(frozen=True, slots=True)
class Noise:
    """Something that is no message: its first 1024 characters and one sentence part saying why."""

    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line over the cap that was no answer of ours; `request` is its id where it visibly was a call by the peer."""

    length: int
    prefix: str
    request: int | str | None


Message = Response | Request | Notification | Noise | Skipped


class TooManyRequestsError(Exception):
    """1024 requests are unanswered, or the 2**24 ids of this epoch are used up."""


class Peer:
    """Our side: makes the bytes of what we say, and tells what the other side said."""

    def __init__(self, epoch: int) -> None:
        if not 0 <= epoch <= MAX_EPOCH:
            raise ValueError(f"the epoch is {epoch}; it must be between 0 and {MAX_EPOCH}")
        self._first = epoch * IDS_PER_EPOCH + 1
        self._next = self._first
        self._pending: dict[int, str] = {}

    @property
    def pending(self) -> int:
        """How many requests wait for their answer."""
        return len(self._pending)

    def request(self, method: str, params: Any) -> tuple[int, bytes]:
        """Return the id and the line of a new request, which is pending from here on.

        Raises TypeError when `params` cannot be written as JSON and TooManyRequestsError when there is no room;
        nothing is pending then.
        """
        if len(self._pending) >= MAX_PENDING:
            raise TooManyRequestsError(f"{method} is not sent: {MAX_PENDING} requests wait for an answer; give some up")
        if self._next >= self._first + IDS_PER_EPOCH - 1:
            raise TooManyRequestsError(f"{method} is not sent: the ids of this epoch are used up; take a new epoch")
        line = jsontext.dump({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params})
        ident = self._next
        self._next += 1
        self._pending[ident] = str(method)
        return ident, line

    def expect(self, ident: int, method: str) -> None:
        """Wait for the answer to a request that an earlier owner of the conversation made."""
        self._pending[ident] = method

    def forget(self, ident: int) -> None:
        """Give up a request: a late answer is dropped. Does nothing when it is not pending."""
        self._pending.pop(ident, None)

    def notify(self, method: str, params: Any) -> bytes:
        """Return the line of a notification; raises TypeError when `params` cannot be written as JSON."""
        return jsontext.dump({"jsonrpc": "2.0", "method": method, "params": params})

    def respond(self, ident: int | str, result: Any) -> bytes:
        """Return the line that answers the peer's request; raises TypeError when `result` cannot be written as JSON."""
        return jsontext.dump({"jsonrpc": "2.0", "id": ident, "result": result})

    def refuse(self, ident: int | str, code: int, message: str, data: Any = None) -> bytes:
        """Return the line that answers the peer's request with an error; raises TypeError as `respond` does."""
        error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            error["data"] = data
        return jsontext.dump({"jsonrpc": "2.0", "id": ident, "error": error})

    def receive(self, line: bytes | Oversized) -> list[Message]:
        """Return what one line says: mostly one message, more for a batch, none for an answer nobody waits for."""
        if isinstance(line, Oversized):
            return self._unread(line, f"it was {line.length} bytes long, over the cap")
        if line[:1] not in b"{[" and line.lstrip()[:1] not in b"{[":
            return [_noise(line, "it is not a JSON object")]
        try:
            value = jsontext.parse(line)
        except jsontext.OverLimitError as error:
            return self._unread(Oversized.of(line), str(error), kept=True)
        except jsontext.NotJsonError as error:
            return [_noise(line, str(error))]
        return self._one(value, line) if isinstance(value, dict) else self._batch(value, line)

    def _batch(self, items: list[Any], line: bytes) -> list[Message]:
        if not 0 < len(items) <= MAX_BATCH:
            return [_noise(line, f"it is a batch of {len(items)} messages")]
        messages: list[Message] = []
        for item in items:
            if isinstance(item, dict):
                messages += self._one(item, line)
            else:
                messages.append(_noise(line, "the batch holds something that is not an object"))
        return messages

    def _one(self, message: dict[str, Any], line: bytes) -> list[Message]:
        method = message.get("method")
        ident = message.get("id")
        if method is None:
            return self._answer(message, ident, line)
        if not isinstance(method, str):
            return [_noise(line, "its method is not a string")]
        # Some serialisers write a null id for "no id".
        if ident is None:
            return [Notification(method, message.get("params"))]
        if not _is_id(ident):
            return [_noise(line, "its id is neither an integer nor a short string")]
        return [Request(ident, method, message.get("params"))]

    def _answer(self, message: dict[str, Any], raw_id: Any, line: bytes) -> list[Message]:
        if raw_id is None:
            return [_noise(line, "it has neither a method nor an id")]
        if not _is_id(raw_id):
            return [_noise(line, "its id is neither an integer nor a short string")]
        ident = _our_id(raw_id)
        method = self._pending.pop(ident, None)
        if method is None:
            return []
        # A missing result is a null one: that is how JavaScript writes `result: undefined`.
        failure = message.get("error")
        if failure is None:
            return [Response(ident, message.get("result"), None, method)]
        return [Response(ident, None, _read_error(failure), method)]

    def _unread(self, line: Oversized, why: str, *, kept: bool = False) -> list[Message]:
        """Tell of a line that is lost: fail the request it answered, if its beginning or end shows which.

        With `kept` it was not too long, but what it holds was too much.
        """
        seen = jsontext.peek(line.prefix, line.tail)
        called = not seen.names.isdisjoint(("method", "params"))
        if not called and _is_id(seen.id):
            ident = _our_id(seen.id)
            method = self._pending.pop(ident, None)
            if method is not None:
                error = RpcError(None, f"the response could not be read: {why}")
                return [Response(ident, None, error, method)]
        if kept:
            return [_noise(line.prefix, why)]
        return [Skipped(line.length, _shown(line.prefix), seen.id if called and _is_id(seen.id) else None)]


def _noise(line: bytes, why: str) -> Noise:
    return Noise(_shown(line), why)


def _shown(text: bytes) -> str:
    return text[:MAX_SHOWN].decode("utf-8", "replace")


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_TEXT
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _our_id(value: int | str) -> int:
    """Return the id as one of ours, also when the peer gave it back as digits in a string; -1 is never one of ours."""
    if isinstance(value, int):
        return value
    return int(value) if value.isascii() and value.isdigit() else -1


def _read_error(error: Any) -> RpcError:
    if not isinstance(error, dict):
        return RpcError(None, _error_text(error))
    code = error.get("code")
    known = isinstance(code, int) and not isinstance(code, bool)
    return RpcError(code if known else None, _error_text(error.get("message")), error.get("data"))


def _error_text(value: Any) -> str:
    if value is None or value == "":
        return "the peer gave no reason"
    text = value if isinstance(value, str) else jsontext.compact(value)
    return text[:MAX_ERROR_TEXT]
