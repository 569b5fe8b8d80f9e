"""A verb's way to the daemon: who asks, which subagent is meant, and how an error is told.

Light to import: the verbs that only ask the daemon start in a moment.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from acp_runtime.api.errors import DaemonError, is_passing
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.callers import OPERATOR, Caller, admitted
from acp_runtime.cli.codes import Exit
from acp_runtime.core.errors import Rejected

OVER: Final = frozenset({"completed", "stopped", "timed_out", "error"})  # the ends among the statuses
YEAR: Final = 31_536_000
SLICE_SECONDS: Final = 40.0
TRIES: Final = 20
TRY_SECONDS: Final = 0.25
# Of sentences that are the original's to the letter, since models read them.
_REMEDIES: Final = {
    "limit_reached": "`subagents ps` shows who is open, `subagents stop` ends one; "
    "`admission` and `one_shot` in the configuration say how many may be"
}
_USAGE: Final = frozenset(
    {"invalid", "unknown_agent", "ambiguous", "unknown_preset", "override_refused", "bad_egress_rule", "config_error"}
)


class Asking:
    """The daemon as one command line asks it: as the operator, or as the parent of `--parent`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._client = UnixClient()
        given: str | None = getattr(options, "parent", None)
        self.parent = None if given is None else admitted(given)
        self.caller: Caller = OPERATOR if self.parent is None else self.parent

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the facade. Raises `Rejected` and `DaemonError`."""
        try:
            return self._client.call(method, self.caller, **arguments)
        except Rejected as error:
            if (more := _REMEDIES.get(error.kind)) is None:
                raise
            raise Rejected(error.kind, f"{error} {more}", error.data) from error

    def bare(self, method: str, **arguments: Any) -> Any:
        """Call a method that takes no caller."""
        return self._client.call(method, None, **arguments)

    def hello(self) -> dict[str, Any]:
        """Return what the daemon says of itself."""
        return self._client.hello()

    def find(self, wanted: str) -> str:
        """Return the id that is meant by an id, the beginning of one, or a name."""
        found: str = self.call("find", wanted=wanted)
        return found

    def status(self, wanted: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("status", subagent=self.find(wanted))
        return found

    def patient(self, method: str, **arguments: Any) -> Any:
        """Call a method that changes nothing, and ask the next daemon where this one goes."""
        tries = _Tries()
        while True:
            try:
                return self.call(method, **arguments)
            except (Rejected, DaemonError) as error:
                tries.failed(error)

    def wait(self, subagents: Sequence[str], mode: str, seconds: float) -> dict[str, Any]:
        """Wait in slices, so that no connection is silent for long, and with the next daemon when this one goes."""
        from acp_runtime.clock import SystemClock  # noqa: PLC0415 - only who waits reads a clock

        if not seconds >= 0:
            raise Rejected("invalid", f"the timeout is {seconds:g}; give a number of seconds that is not negative")
        clock, tries = SystemClock(), _Tries()
        since: dict[str, int] = {}
        end = clock.now() + min(seconds, YEAR) * 1000
        while True:
            left = max(0.0, (end - clock.now()) / 1000)
            part = min(left, SLICE_SECONDS)
            try:
                waited: dict[str, Any] = self.call("wait", subagents=subagents, mode=mode, seconds=part, **since)
            except (Rejected, DaemonError) as error:
                tries.failed(error)
                continue
            if waited["reason"] != "timeout" or part == left:
                return waited
            tries = _Tries()
            since = {"since": waited["seq"]} if mode == "any_change" else {}

    def events(self, subagent: str, since: int) -> Iterator[dict[str, Any]]:
        """Yield what happened to a subagent after a cursor, and what happens, until it has ended.

        Goes on with the next daemon when this one goes: nothing is left out or told twice.
        """
        who = {"parent": self.parent} if self.parent else {"operator": "true"}
        tries = _Tries()
        while True:
            try:
                for row in self._client.stream("/v1/events", {**who, "subagent": subagent, "since": str(since)}):
                    tries, since = _Tries(), row["seq"]
                    yield row
            except (Rejected, DaemonError) as error:
                tries.failed(error)
            else:
                return


class _Tries:
    """How often in a row a daemon that is being replaced, or was lost, is asked again."""

    def __init__(self) -> None:
        self._left = TRIES

    def failed(self, error: Rejected | DaemonError) -> None:
        """Let a moment pass. Raises the error when it is another one, or came too often."""
        self._left -= 1
        if self._left < 0 or not is_passing(error):
            raise error
        time.sleep(TRY_SECONDS)


def exit_of(error: Rejected | DaemonError) -> Exit:
    """Return the exit code of a call that failed."""
    if isinstance(error, DaemonError) and error.kind != "config_error":
        return Exit.UNKNOWN if error.kind == "daemon_lost" else Exit.ENGINE
    return Exit.USAGE if error.kind in _USAGE else Exit.FAILED
