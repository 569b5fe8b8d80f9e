"""Trees of subagents as their owners may see them, and the switch by which the operator keeps them from growing."""

from collections.abc import Sequence

from acp_runtime.callers import Caller, Operator
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import name_of
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.service.reading import Reading
from acp_runtime.views import SubagentView


class Treed:
    """The part of a `Runtime` that knows who leads whom."""

    _reading: Reading
    _supervisor: Supervisor

    async def tree(self, caller: Caller, subagent: str | None = None, *, ended: bool = False) -> list[SubagentView]:
        """Return what stands below a caller, or one subagent with all below it: each before those that it leads.

        The ended ones too when asked for. Raises `Rejected` (unknown_subagent).
        """
        if subagent is not None:
            await self._reading.status(caller, subagent)
        views = await self._reading.views(caller, ended=ended, below=True)
        return _in_order(views, subagent)

    async def pause_spawning(self, caller: Caller, *, on: bool) -> bool:
        """Let nobody spawn or resume from now on, also after a restart; or let all go on. Return what holds now.

        What is under way goes on. Raises `Rejected` (operator_only).
        """
        if not isinstance(caller, Operator):
            raise Rejected("operator_only", "spawning is paused for all parents; ask as the operator")
        await self._supervisor.pause.switch(on=on)
        return await self._supervisor.pause.on()


def _in_order(views: Sequence[SubagentView], top: str | None) -> list[SubagentView]:
    """Return views each before those below it; one whose leader is not among them stands where that would."""
    led: dict[str, list[SubagentView]] = {}
    known = {name_of(view.id) for view in views}
    for view in views:
        led.setdefault(view.parent if view.parent in known else "", []).append(view)
    waiting = [view for view in views if view.id == top] if top is not None else led.get("", [])[:]
    waiting.reverse()
    found: list[SubagentView] = []
    while waiting:
        view = waiting.pop()
        found.append(view)
        waiting += reversed(led.get(name_of(view.id), []))
    return found
