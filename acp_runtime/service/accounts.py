"""What calls of models used, as its owners may see it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from acp_runtime.callers import OPERATOR, Caller, Leader, Operator
from acp_runtime.clock import Clock
from acp_runtime.config import Config
from acp_runtime.core.budget import Bound, Budget
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import PREFIX, name_of
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.presets import find_preset, with_budget
from acp_runtime.service.reached import Watchable
from acp_runtime.service.reading import Reading, tree_of
from acp_runtime.service.spending import SUMS, spending
from acp_runtime.store.outbox import wall_text
from acp_runtime.store.parents import OWNER
from acp_runtime.store.store import Store
from acp_runtime.views import SubagentView, UsageBy, UsageView

Row = Mapping[str, Any]
# How long the tasks of a subagent took so far, in seconds; a moment stands for those that have not ended.
_SECONDS: Final = (
    "(SELECT coalesce(sum(julianday(coalesce(ended_wall, ?)) - julianday(started_wall)), 0) * 86400 FROM task "
    "WHERE task.subagent = subagent.id AND started_wall IS NOT NULL)"
)
# The subagent at the top of a tree: that whose parent stands so far above.
_TOP: Final = (
    "coalesce((SELECT substr(kin.above, length(?) + 1) FROM kin WHERE kin.subagent = subagent.id "
    "AND kin.up = {up} - 1), subagent.id)"
)
_HIGHEST: Final = "(SELECT max(up) FROM kin WHERE kin.subagent = subagent.id)"
_OF_CALLER: Final = f"(SELECT up FROM kin WHERE kin.subagent = subagent.id AND kin.above = {OWNER})"  # noqa: S608 - a constant
_UNDER: Final = "(subagent.id = ? OR subagent.id IN (SELECT kin.subagent FROM kin WHERE kin.above = ?))"
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
    _clock: Clock
    _reading: Reading
    _supervisor: Supervisor
    _config: Config

    async def set_budget(
        self, caller: Caller, subagent: str, bounds: Budget, *, without: tuple[Bound, ...] = ()
    ) -> SubagentView:
        """Change what an open subagent may use of its models, from its spawn to its end.

        Bounds that are given count from the next call on, those that `without` names are none any more, the others
        stay. A parent gives no more than the ceiling allows, a subagent no more than it has, the operator does. Raises
        `Rejected` (unknown_subagent, invalid, beyond_ceiling, not_running, budget_unmeasured).
        """
        view = await self._reading.status(caller, subagent)
        budget = _changed(view.budget, bounds, without)
        if (most := await self._most(caller)) is not None and (wider := tuple(budget.wider_than(most))):
            remedy = f"The operator may: subagents budget {view.id}"
            raise Rejected("beyond_ceiling", f"beyond the ceiling: {'; '.join(wider)}. {remedy}", {"wider": wider})
        await self._supervisor.set_budget(view.id, budget, by=await self._reading.word(caller, view))
        return await self._reading.status(caller, subagent)

    async def _most(self, caller: Caller) -> Budget | None:
        """Return what a caller may give at most: a subagent what it has itself; None where nothing bounds it."""
        if isinstance(caller, Operator):
            return None
        if isinstance(caller, Leader):
            return (await self._reading.status(OPERATOR, caller.subagent)).budget
        ceiling = find_preset(self._config.presets, self._config.ceiling)
        return with_budget(ceiling, Budget(), self._config.budget).budget

    async def usage(self, caller: Caller, *, by: UsageBy = "subagent", subagent: str | None = None) -> list[UsageView]:
        """Return what calls of models used, of one subagent where it is named, in the order of spawning.

        A tree is a subagent of the caller, or the named one, and all below it; the operator sees those of all parents.
        Once the log of a subagent is deleted, what it used is in no sum any more.
        Raises `Rejected` (unknown_subagent).
        """
        if subagent is not None:
            await self._reading.status(caller, subagent)
        if by == "tree":
            return await self._trees(caller, subagent)
        scope, mine = tree_of(caller)
        rows = await self._store.query(
            f"SELECT {_COLUMNS[by]}, {SUMS} FROM spent JOIN subagent ON subagent.id = spent.subagent "  # noqa: S608
            f"WHERE {scope} AND (? IS NULL OR subagent = ?) GROUP BY {_GROUPS[by]}",
            *mine, subagent, subagent,
        )  # fmt: skip
        names = ("parent", "subagent", "name", "task", "model")
        return [UsageView(spending(row), **{name: row[name] for name in names if name in row}) for row in rows]

    async def _trees(self, caller: Caller, subagent: str | None) -> list[UsageView]:
        """Return a sum for each tree that a caller sees, or for the one below a subagent that it may see."""
        scope, mine = tree_of(caller)
        if subagent is not None:
            scope, mine = _UNDER, (subagent, name_of(subagent))
            top: tuple[str, tuple[str, ...]] = "?", (subagent,)
        elif isinstance(caller, Operator):
            top = _TOP.format(up=_HIGHEST), (PREFIX,)
        else:
            top = _TOP.format(up=_OF_CALLER), (PREFIX, caller, caller)
        now = wall_text(self._clock.wall())
        of_members = f"SELECT id, parent, name, {top[0]} AS top, {_SECONDS} AS seconds FROM subagent WHERE {scope}"  # noqa: S608
        of_calls = f"SELECT subagent.id, {SUMS} FROM spent JOIN subagent ON subagent.id = spent.subagent WHERE {scope}"  # noqa: S608
        members, spent = await self._store.queries(
            (f"{of_members} ORDER BY created_seq", (*top[1], now, *mine)),
            (f"{of_calls} GROUP BY subagent.id", mine),
        )
        used = {row["id"]: row for row in spent}
        trees: dict[str, list[Row]] = {}
        for member in members:
            trees.setdefault(member["top"], []).append(member)
        return [
            _tree(top, all_of, [used[each["id"]] for each in all_of if each["id"] in used])
            for top, all_of in trees.items()
        ]


def _tree(top: str, members: Sequence[Row], spent: Sequence[Row]) -> UsageView:
    """Return the sum of a tree. The log of who stands at its top may have been deleted."""
    root = next((each for each in members if each["id"] == top), None)
    return UsageView(
        spending(*spent),
        parent=None if root is None else root["parent"],
        subagent=top,
        name=None if root is None else root["name"],
        agents=len(members),
        seconds=round(sum(each["seconds"] for each in members), 3),
    )


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
