"""What sandboxes reached and what was refused them, as its owners may see it."""

from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.callers import Caller, Operator
from acp_runtime.core.errors import Rejected
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.service.reading import Reading, tree_of
from acp_runtime.store.store import Store
from acp_runtime.views import Reached

MOST: Final = 10_000


class Watchable:
    """The part of a `Runtime` that tells what went in and out of sandboxes."""

    _store: Store
    _reading: Reading
    _supervisor: Supervisor

    async def reached(
        self,
        caller: Caller,
        *,
        subagent: str | None = None,
        host: str | None = None,
        refused: bool = False,
        limit: int = 500,
    ) -> list[Reached]:
        """Return the newest exchanges, tunnels and refusals that the gateway wrote down, oldest first.

        `host`: to that host or one below it; `refused`: what we refused only. A parent sees those of its own subagents.
        The oldest are forgotten when the gateway's files are full (64 MiB). Raises `Rejected` (unknown_subagent,
        invalid), and OSError when the files cannot be read.
        """
        if not 1 <= limit <= MOST:
            raise Rejected("invalid", f"limit is {limit}; it must be from 1 to {MOST}")
        if subagent is not None:
            await self._reading.status(caller, subagent)
        own = None if isinstance(caller, Operator) else await self._own(caller)
        wanted_host = None if host is None else host.lower().removesuffix(".")

        def wanted(record: Mapping[str, Any]) -> bool:
            whose, where = record.get("subagent"), str(record.get("host", ""))
            return (
                (subagent is None or whose == subagent)
                and (own is None or whose in own)
                and (wanted_host is None or where == wanted_host or where.endswith(f".{wanted_host}"))
                and (not refused or record.get("end") == "refused")
            )

        return [_view(record) for record in await self._supervisor.bookkeeper.newest(wanted, limit)]

    async def _own(self, caller: Caller) -> frozenset[str]:
        scope, mine = tree_of(caller)
        rows = await self._store.query(f"SELECT id FROM subagent WHERE {scope}", *mine)  # noqa: S608 - a constant
        return frozenset(row["id"] for row in rows)


def _view(record: Mapping[str, Any]) -> Reached:
    """Return a record as a view; what another version wrote otherwise is empty."""

    def text(name: str) -> str:
        return found if isinstance(found := record.get(name), str) else ""

    def number(name: str) -> int:
        return found if isinstance(found := record.get(name), int) else 0

    return Reached(
        at=text("at"), subagent=text("subagent"), attempt=number("attempt"), way=text("way"), host=text("host"),
        port=number("port"), method=text("method"), path=text("path"), status=number("status") or None, end=text("end"),
        allowed_by=text("rule"), code=text("code"), why=text("why"), bytes_up=number("up"), bytes_down=number("down"),
    )  # fmt: skip
