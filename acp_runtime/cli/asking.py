"""A verb's way to the daemon: who asks, which subagent is meant, and how an error is told.

Light to import: the verbs that only ask the daemon start in a moment.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.callers import OPERATOR, Caller
from acp_runtime.cli.codes import Exit
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import printable

_USAGE: Final = frozenset({"invalid", "unknown_agent", "ambiguous", "unknown_preset", "override_refused"})


class Asking:
    """The daemon as one command line asks it: as the operator, or as the parent of `--parent`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._client = UnixClient()
        self.parent: str | None = getattr(options, "parent", None)
        self.caller: Caller = self.parent or OPERATOR

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the facade. Raises `Rejected` and `DaemonError`."""
        return self._client.call(method, self.caller, **arguments)

    def bare(self, method: str, **arguments: Any) -> Any:
        """Call a method that takes no caller."""
        return self._client.call(method, None, **arguments)

    def find(self, wanted: str) -> str:
        """Return the id that is meant by an id, the beginning of one, or a name."""
        found: str = self.call("find", wanted=wanted)
        return found

    def status(self, wanted: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("status", subagent=self.find(wanted))
        return found

    def events(self, subagent: str, since: int) -> Iterator[dict[str, Any]]:
        """Yield what happened to a subagent after a cursor, and what happens, until it has ended."""
        who = {"parent": self.parent} if self.parent else {"operator": "true"}
        return self._client.stream("/v1/events", {**who, "subagent": subagent, "since": str(since)})


def exit_of(error: Rejected | DaemonError) -> Exit:
    """Return the exit code of a call that failed."""
    if isinstance(error, DaemonError):
        return Exit.UNKNOWN if error.kind == "daemon_lost" else Exit.ENGINE
    return Exit.USAGE if error.kind in _USAGE else Exit.FAILED


def put(text: str) -> None:
    """Write a line of data. Whatever an agent or a host wrote into it cannot move the cursor."""
    sys.stdout.write(printable(text) + "\n")


def put_json(*objects: object) -> None:
    """Write one object a line, as JSON that any terminal can show."""
    for each in objects:
        sys.stdout.write(json.dumps(each, ensure_ascii=True) + "\n")
