"""Hears of one request and tells what became of it, once."""

import re
from typing import Final

import h11

from acp_runtime.carrying.observer import Ending
from acp_runtime.egress.contact import Contact, Tell, Way

__all__ = ["Report"]

_PATH_SHOWN: Final = 200
_PLAIN_METHOD: Final = re.compile(rb"[A-Z]{1,16}")


class Report:
    """An observer of one exchange; what the exchange does not know is set by whoever decides.

    `forbidden`: it is being cut, since what it leads to is not allowed any more.
    """

    def __init__(self, tell: Tell, request: h11.Request) -> None:
        self.way: Way = "none"
        self.host = ""
        self.port = 0
        self.path = ""
        self.allowed_by = ""
        self.forbidden = False
        self.bytes_up = 0
        self.bytes_down = 0
        self._method = request.method.decode() if _PLAIN_METHOD.fullmatch(request.method) else "?"
        self._tell: Tell | None = tell

    def on_request(self, request: h11.Request) -> None:
        """Nothing is told yet."""

    def on_request_body(self, data: bytes) -> None:
        self.bytes_up += len(data)

    def on_answer(self, head: h11.Response) -> None:
        """Nothing is told yet."""

    def on_answer_body(self, data: bytes) -> None:
        self.bytes_down += len(data)

    def on_end(self, ending: Ending) -> None:
        """Tell. Only the first end counts."""
        tell, self._tell = self._tell, None
        if tell is None:
            return
        if self.forbidden:  # which looks like an end of either side
            ending = Ending("cut", ending.status, "what it led to is not allowed any more")
        contact = Contact(
            self.way, ending.how, self.host, self.port, self._method, self.path[:_PATH_SHOWN], self.allowed_by,
            refused=ending.code or "", why=(ending.why or "").rstrip("."), status=ending.status,
            bytes_up=self.bytes_up, bytes_down=self.bytes_down,
        )  # fmt: skip
        tell(contact)
