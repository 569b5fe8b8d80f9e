"""What trees of subagents used: each call of the ledger is in exactly one sum, whoever asks."""

from random import Random

import pytest

from acp_runtime.callers import OPERATOR, Caller, Leader
from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import PromptAnswered, SessionReady
from acp_runtime.core.lineage import Lineage, Role, name_of
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.core.model import Order
from acp_runtime.service.accounts import Accountable
from acp_runtime.service.reading import Reading
from acp_runtime.store.store import Store
from acp_runtime.views import UsageView
from tests.histories import spawn
from tests.integration.store.conftest import Line, clock, path, store

__all__ = ["clock", "path", "store"]
CHARGED = (CallEnd.ANSWERED, CallEnd.BROKEN)


def books(store: Store, clock: ManualClock) -> Accountable:
    found = Accountable()
    found._store, found._clock, found._reading = store, clock, Reading(store, clock, lambda _: None)
    return found


async def member(store: Store, clock: ManualClock, number: int, *above: str) -> Line:
    order = Order(agent="scripted", workspace="/w", lineage=Lineage(Role.ORCHESTRATOR, above, deepest=8))
    return await Line.begin(store, clock, spawn(id=f"bg-{number:010x}", parent=above[0], order=order))


def sums(rows: list[UsageView]) -> dict[str | None, tuple[int | None, int, int]]:
    return {row.subagent: (row.agents, row.spent.calls, row.spent.tokens) for row in rows}


@pytest.mark.requirement("O10")
@pytest.mark.parametrize("seed", range(5))
async def test_the_sums_of_trees_are_those_of_their_calls(store: Store, clock: ManualClock, seed: int) -> None:
    random = Random(seed)
    ways: dict[str, tuple[str, ...]] = {}
    for number in range(12):
        leader = random.choice([None, *ways])
        above = (random.choice(["p", "q"]),) if leader is None else (name_of(leader), *ways[leader])
        line = await member(store, clock, number, *above)
        ways[line.id] = above
    calls = [
        Call(random.choice(list(ways)), 0, "m", random.choice(CHARGED), Usage(random.randrange(99)), cost=1)
        for _ in range(60)
    ]
    await store.book(calls, "1 0")
    accounts = books(store, clock)

    def expected(members: list[str]) -> tuple[int, int, int]:
        own = [each for each in calls if each.subagent in members]
        return len(members), len(own), sum(each.usage.total for each in own if each.usage is not None)

    def under(top: str) -> list[str]:
        return [each for each, above in ways.items() if each == top or name_of(top) in above]

    callers: list[Caller] = [OPERATOR, "p", "q", *map(Leader, ways)]
    for caller in callers:
        tops = [each for each, above in ways.items() if _is_top(caller, above)]
        assert sums(await accounts.usage(caller, by="tree")) == {top: expected(under(top)) for top in tops}
    for one in ways:
        (row,) = await accounts.usage(OPERATOR, by="tree", subagent=one)
        assert sums([row]) == {one: expected(under(one))}
    whole = await accounts.usage(OPERATOR, by="tree")
    assert sum(row.spent.calls for row in whole) == len(calls)
    assert round(sum(row.spent.cost_usd or 0 for row in whole) * 1e9) == len(calls)


def _is_top(caller: Caller, above: tuple[str, ...]) -> bool:
    return len(above) == 1 if caller is OPERATOR else above[0] == caller


@pytest.mark.requirement("O10")
async def test_the_time_of_a_tree_is_that_of_its_tasks_and_a_foreign_tree_is_unknown(
    store: Store, clock: ManualClock
) -> None:
    top = await member(store, clock, 1, "p")
    leaf = await member(store, clock, 2, name_of(top.id), "p")
    await top.take(SessionReady(1, "s", "agent", "1"))
    clock.advance(2_000)
    await leaf.take(SessionReady(1, "s", "agent", "1"))
    clock.advance(3_000)
    await leaf.take(PromptAnswered(1, f"{leaf.id}.t1", "end_turn", 0))
    clock.advance(5_000)
    (row,) = await books(store, clock).usage("p", by="tree")
    assert (row.subagent, row.name, row.parent) == (top.id, "amber-fox", "p")
    assert (row.agents, row.seconds) == (2, 13.0)
    with pytest.raises(Rejected, match="Unknown background subagent"):
        await books(store, clock).usage("q", by="tree", subagent=leaf.id)
