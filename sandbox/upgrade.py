"""The HTTP exchange that turns a connection to the engine into the raw stream of an execution. Sans-io.

`Reply` promises that no byte behind the headers is lost: what arrived with them is returned as the first bytes of the
stream. Any answer but 101 is an error with the engine's own words in it.
"""

import json
from contextlib import suppress

from sandbox.errors import EngineError, SandboxError, StreamCorrupt
from sandbox.refusals import refusal

END_OF_HEADERS = b"\r\n\r\n"
LARGEST_ANSWER = 64 * 1024  # of headers, and of the words of a refusal
SWITCHING = 101


def start_request(exec_id: str, api_version: str) -> bytes:
    """Write the request that starts an execution and asks for its stream."""
    body = b'{"Detach":false,"Tty":false}'
    head = (
        f"POST /v{api_version}/exec/{exec_id}/start HTTP/1.1\r\n"
        "Host: engine\r\n"
        "Content-Type: application/json\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: tcp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class Reply:
    """The engine's answer as it arrives; `doing` completes "refused to" in errors."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes; None while the answer is incomplete, then the first bytes of the stream.

        Raises the mapped error for a refusal, StreamCorrupt for what is no HTTP answer.
        """
        self._buffer += data
        head, end, rest = self._buffer.partition(END_OF_HEADERS)
        if not end:
            if len(self._buffer) > LARGEST_ANSWER:
                raise self._no_answer()
            return None
        if (status := self._status(head)) == SWITCHING:
            return rest
        if len(rest) >= min(_content_length(head), LARGEST_ANSWER):
            raise self._refused(status, rest)
        return None

    def ended(self) -> SandboxError:
        """Return the error for a connection that ended before the answer was complete."""
        head, end, rest = self._buffer.partition(END_OF_HEADERS)
        if end:
            return self._refused(int(head.split(b" ", 2)[1]), rest)  # `feed` has read the status before
        return EngineError(
            f"The engine ended the connection when asked to {self._doing}; it may be restarting: try again."
        )

    def _refused(self, status: int, body: bytes) -> SandboxError:
        words = body[:LARGEST_ANSWER].decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            words = str(json.loads(words)["message"])
        if status < 400:
            words = f"it did not change to the raw stream ({words.strip()!r})"
        return refusal(status, words, self._doing)

    def _status(self, head: bytes) -> int:
        words = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise self._no_answer()
        return int(words[1])

    def _no_answer(self) -> StreamCorrupt:
        return StreamCorrupt(
            f"Asked to {self._doing}, the engine did not answer in HTTP but with {self._buffer[:40]!r}; "
            "check that the address is that of an engine."
        )


def _content_length(head: bytes) -> int:
    """Read the length of the body; without one the body lasts until the connection ends."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return LARGEST_ANSWER
