"""The subagents of a store as lines of a tree: who leads whom, what each uses and whether it asks. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.lineage import PREFIX
from acp_runtime.core.plaintext import one_line
from acp_runtime.views import Spending, SubagentView

HEADS: Final = ("NAME", "STATUS", "AGENT", "TOKENS", "COST", "ASKS", "TASK")
NAME_CHARS: Final = 40
TASK_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One line: the subagent's id, and its cells in the order of `HEADS`. No cell holds a control character."""

    id: str
    cells: tuple[str, ...]


def tree(views: Sequence[SubagentView]) -> list[Row]:
    """Return a line for each subagent, those that one leads below it; siblings in the order that they came in.

    One whose leader is not among them stands at the top.
    """
    known = {view.id for view in views}
    led: defaultdict[str, list[SubagentView]] = defaultdict(list)
    for view in views:
        leader = view.parent.removeprefix(PREFIX) if view.parent.startswith(PREFIX) else ""
        led[leader if leader in known else ""].append(view)
    return list(_below(led, "", 0))


def _below(led: dict[str, list[SubagentView]], leader: str, depth: int) -> Iterator[Row]:
    for view in led.get(leader, ()):
        yield Row(view.id, _cells(view, depth))
        yield from _below(led, view.id, depth + 1)


def _cells(view: SubagentView, depth: int) -> tuple[str, ...]:
    branch = "  " * (depth - 1) + "└ " if depth else ""
    return (
        branch + one_line(view.name, NAME_CHARS),
        str(view.status),
        one_line(view.agent, NAME_CHARS),
        f"{view.spent.tokens:,}" if view.spent.calls else "",
        cost(view.spent),
        str(len(view.requests) or ""),
        one_line(view.newest.text, TASK_CHARS),
    )


def cost(spent: Spending) -> str:
    """Return what calls cost in dollars, `?` where no price is known, with a `+` where some are unknown."""
    if not spent.calls:
        return ""
    if spent.cost_usd is None:
        return "?"
    return f"${spent.cost_usd:.2f}" + ("+" if spent.unpriced_calls or spent.unknown_calls else "")
