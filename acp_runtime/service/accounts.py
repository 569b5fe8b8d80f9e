"""What calls of models used, as its owners may see it."""

from collections.abc import Mapping
from typing import Final

from acp_runtime.callers import Caller
from acp_runtime.service.reached import Watchable
from acp_runtime.service.reading import Reading, tree_of
from acp_runtime.service.spending import SUMS, spending
from acp_runtime.store.store import Store
from acp_runtime.views import UsageBy, UsageView

_COLUMNS: Final[Mapping[UsageBy, str]] = {
    "task": "parent, subagent, name, nullif(task, '') AS task",
    "subagent": "parent, subagent, name",
    "parent": "parent",
    "model": "spent.model AS model",
}
_GROUPS: Final[Mapping[UsageBy, str]] = {
    "task": "subagent, task ORDER BY created_seq, task = '', length(task), task",
    "subagent": "subagent ORDER BY created_seq",
    "parent": "parent ORDER BY min(created_seq)",
    "model": "spent.model ORDER BY spent.model",
}


class Accountable(Watchable):
    """The part of a `Runtime` that tells what was used, and what was reached."""

    _store: Store
    _reading: Reading

    async def usage(self, caller: Caller, *, by: UsageBy = "subagent", subagent: str | None = None) -> list[UsageView]:
        """Return what calls of models used, of one subagent where it is named, in the order of spawning.

        The operator sees all parents'. Once the log of a subagent is deleted, what it used is in no sum any more.
        Raises `Rejected` (unknown_subagent).
        """
        if subagent is not None:
            await self._reading.status(caller, subagent)
        scope, mine = tree_of(caller)
        rows = await self._store.query(
            f"SELECT {_COLUMNS[by]}, {SUMS} FROM spent JOIN subagent ON subagent.id = spent.subagent "  # noqa: S608
            f"WHERE {scope} AND (? IS NULL OR subagent = ?) GROUP BY {_GROUPS[by]}",
            *mine, subagent, subagent,
        )  # fmt: skip
        names = ("parent", "subagent", "name", "task", "model")
        return [UsageView(spending(row), **{name: row[name] for name in names if name in row}) for row in rows]
