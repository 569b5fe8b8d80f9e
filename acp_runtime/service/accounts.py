"""What calls of models used, as its owners may see it."""

from collections.abc import Mapping
from typing import Final

from acp_runtime.callers import Caller, Operator, word_of
from acp_runtime.config import Config
from acp_runtime.core.budget import Bound, Budget
from acp_runtime.core.errors import Rejected
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.presets import find_preset, with_budget
from acp_runtime.service.reached import Watchable
from acp_runtime.service.reading import Reading, tree_of
from acp_runtime.service.spending import SUMS, spending
from acp_runtime.store.store import Store
from acp_runtime.views import SubagentView, UsageBy, UsageView

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
    """The part of a `Runtime` that tells what was used and bounds it, and tells what was reached."""

    _store: Store
    _reading: Reading
    _supervisor: Supervisor
    _config: Config

    async def set_budget(
        self, caller: Caller, subagent: str, bounds: Budget, *, without: tuple[Bound, ...] = ()
    ) -> SubagentView:
        """Change what an open subagent may use of its models, from its spawn to its end.

        Bounds that are given count from the next call on, those that `without` names are none any more, the others
        stay. A parent gets no more than the ceiling allows, the operator does. Raises `Rejected` (unknown_subagent,
        invalid, beyond_ceiling, not_running, budget_unmeasured).
        """
        view = await self._reading.status(caller, subagent)
        budget = _changed(view.budget, bounds, without)
        if not isinstance(caller, Operator):
            ceiling = with_budget(
                find_preset(self._config.presets, self._config.ceiling), Budget(), self._config.budget
            )
            if wider := tuple(budget.wider_than(ceiling.budget)):
                remedy = f"The operator may: subagents budget {view.id}"
                raise Rejected("beyond_ceiling", f"beyond the ceiling: {'; '.join(wider)}. {remedy}", {"wider": wider})
        await self._supervisor.set_budget(view.id, budget, by=word_of(caller))
        return await self._reading.status(caller, subagent)

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


def _changed(before: Budget, bounds: Budget, without: tuple[Bound, ...]) -> Budget:
    """Return the budget after a change. Raises `Rejected` (invalid) for one that makes no sense."""
    given = [bound for bound in Bound if getattr(bounds, bound) is not None]
    if both := [bound for bound in given if bound in without]:
        raise Rejected("invalid", f"the budget's {both[0]} cannot be both given and taken away")
    after = before.changed(bounds, without)
    mistakes = list(bounds.mistakes())
    if not mistakes and any(getattr(after, bound) is None for bound in given):
        mistakes.append("the soft budget is not below the hard one, so it would tell nothing")
    for mistake in mistakes:
        raise Rejected("invalid", mistake)
    return after
