"""What bounds the calls of subagents, and who is told where they have come to: by what is booked."""

from acp_runtime.core.budget import Allowance, Bound, Scope
from acp_runtime.core.inputs import ModelUsed
from acp_runtime.core.lineage import chain, name_of
from acp_runtime.core.model import Subagent
from acp_runtime.manager.actor import Actor
from acp_runtime.manager.bookkeeper import Bookkeeper
from acp_runtime.manager.policy import Policy
from acp_runtime.store.shares import top_of

__all__ = ["Spending"]


class Spending:
    """Of all subagents of a store. Promises that each bound is told to an actor once, however long its agent goes on.

    An agent may go on to ask, and an actor that waits for the store must not be given more and more.
    """

    def __init__(self, books: Bookkeeper, policy: Policy) -> None:
        self._books = books
        self._policy = policy
        self._told: dict[str, set[str]] = {}  # of each subagent: bounds with their period, tasks with a refused call
        self._told_of_all: set[tuple[Scope, str, Bound, int]] = set()

    def forget(self, subagent: str) -> None:
        """Forget what a subagent that has ended was told."""
        self._told.pop(subagent, None)

    def allowances(self, state: Subagent) -> tuple[Allowance, ...]:
        """Return what bounds a subagent's calls: its own budget, that of its tree, and that of its root parent."""
        config, books = self._policy.config, self._books
        above = tuple(map(books.owner, chain(state.parent, state.order.lineage)))
        root = top_of(state.id, above)
        tree = books.used(root).plus(books.used_below(name_of(root)))
        return (
            Allowance(Scope.AGENT, state.id, state.order.budget, books.used(state.id)),
            Allowance(Scope.TREE, root, config.tree_budget.budget, tree),
            Allowance(Scope.PARENT, above[-1], config.parent_budget.budget, books.used_below(above[-1])),
        )

    def reckon(self, actor: Actor, refused: str = "") -> None:
        """Have a subagent know which bounds its use has come to, and why its last call was refused."""
        state, used, task = actor.state, self._books.used(actor.state.id), actor.state.active
        refused = refused if task is not None else ""
        told = self._told.setdefault(state.id, set())
        reached = {f"{bound} {state.period}" for bound in state.order.budget.reached(used)}
        news = reached.union((task.id,) if task is not None and refused else ()) - told
        shared = self._newly_shared(state)
        if news or shared:
            told |= news
            actor.tell(ModelUsed(used, refused, shared))

    def _newly_shared(self, state: Subagent) -> tuple[tuple[Allowance, Bound], ...]:
        found = []
        for each in self.allowances(state)[1:]:
            for bound in each.budget.reached(each.used):
                fact = each.scope, each.key, bound, getattr(each.budget, bound)
                if fact not in self._told_of_all:
                    self._told_of_all.add(fact)
                    found.append((each, bound))
        return tuple(found)
