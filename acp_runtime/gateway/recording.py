"""Writes down what goes through the ways of one account."""

from collections.abc import Sequence
from typing import Final

import h11

from acp_runtime.carrying.observer import Ending
from acp_runtime.clock import Clock
from acp_runtime.core.metering import Call
from acp_runtime.core.prices import Price
from acp_runtime.egress.contact import Contact
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.lines import Json
from acp_runtime.gateway.records import call_record
from acp_runtime.models.meter import Metering
from acp_runtime.models.prices import builtin_prices
from acp_runtime.models.purse import Purse
from acp_runtime.models.route import Route

__all__ = ["AT_ONCE", "Books", "Recording"]

# Refusals of one account that are written down at once, and each second afterwards. Of what is old the ledger keeps a
# share of each subagent: more of them would push out what this one did reach.
AT_ONCE: Final = 500
PER_SECOND: Final = 5.0
_LONGEST_PATH = 512


class Books:
    """Of one account. `exchanges` and `failures` count what came since it was opened.

    Of refusals that come as a flood some are left out, and how many that were is written down.
    """

    def __init__(self, subagent: str, attempt: int, ledger: Ledger, clock: Clock, *, tree: str = "") -> None:
        self.exchanges = self.failures = 0
        self.last_failure: str | None = None
        self.clock = clock
        self._call: Call | None = None
        self._room, self._since, self._left_out = float(AT_ONCE), clock.now(), 0
        self._ledger = ledger
        self._whose = {"subagent": subagent, "attempt": attempt, "tree": tree or subagent}

    def metering(self, prices: Sequence[Price], purses: tuple[Purse, ...]) -> Metering:
        """Return what model calls are measured with. A call is told right before the end of its `Recording`."""
        subagent = str(self._whose["subagent"])
        return Metering(subagent, builtin_prices().with_own(prices), purses, self.clock, self._measured)

    def take_call(self) -> Call | None:
        """Return the call that was told just now, once."""
        call, self._call = self._call, None
        return call

    def _measured(self, call: Call) -> None:
        self._call = call

    def write(self, record: Json, *, why: str | None) -> None:
        """Write a record; `why` says what failed."""
        self.exchanges += 1
        if why is not None:
            self.failures += 1
            self.last_failure = why
        if record["end"] == "refused" and "call" not in record and not self._has_room():
            self._left_out += 1
            if self._left_out == 1:
                self._append(
                    {"way": "none", "end": "refused", "code": "left_out"}, "from here on refusals are left out"
                )
            return
        if self._left_out:
            count, self._left_out = self._left_out, 0
            self._append({"way": "none", "end": "refused", "code": "left_out"}, f"{count} refusals were left out")
        self._append(record, why)

    def _has_room(self) -> bool:
        now = self.clock.now()
        self._room = min(AT_ONCE, self._room + (now - self._since) / 1000 * PER_SECOND)
        self._since = now
        if self._room < 1:
            return False
        self._room -= 1
        return True

    def _append(self, record: Json, why: str | None) -> None:
        at = self.clock.wall().isoformat(timespec="milliseconds")
        self._ledger.append({"at": at, **self._whose, **record, "why": why})

    def tell(self, contact: Contact) -> None:
        """Take what became of a request to the egress proxy."""
        self.write(
            {
                "way": contact.way, "host": contact.host, "port": contact.port, "method": contact.method,
                "path": contact.path, "status": contact.status, "up": contact.bytes_up, "down": contact.bytes_down,
                "end": contact.end, "code": contact.refused or None, "rule": contact.allowed_by or None,
            },
            why=contact.why or None,
        )  # fmt: skip


class Recording:
    """An observer of one exchange with a model, behind its meter, or of what was turned away before it could be one."""

    def __init__(self, books: Books, route: Route) -> None:
        self._books = books
        self._route = route
        self._began = books.clock.now()
        self._method: str | None = None
        self._path: str | None = None
        self._up = self._down = 0

    def on_request(self, request: h11.Request) -> None:
        self._method = _text(request.method)
        self._path = _text(_shown(request.target))

    def on_request_body(self, data: bytes) -> None:
        self._up += len(data)

    def on_answer(self, head: h11.Response) -> None:
        """Do nothing: what came is told by the end."""

    def on_answer_body(self, data: bytes) -> None:
        self._down += len(data)

    def on_end(self, ending: Ending) -> None:
        record = {
            "way": "model", "host": self._route.host, "port": self._route.port, "method": self._method,
            "path": self._path, "status": ending.status, "up": self._up, "down": self._down,
            "ms": self._books.clock.now() - self._began, "end": ending.how, "code": ending.code,
        }  # fmt: skip
        if (call := self._books.take_call()) is not None:
            record["call"] = call_record(call)
        self._books.write(record, why=(ending.why or "").rstrip(".") if ending.failed else None)


def _shown(target: bytes) -> bytes:
    """Return a target without what may be a secret of the client: its query, and the user of an absolute one."""
    path = target.partition(b"?")[0]
    return path if path.startswith(b"/") else path.rpartition(b"@")[2]


def _text(data: bytes) -> str:
    return data[:_LONGEST_PATH].decode("ascii", "replace")
