"""Places are taken in the transaction that admits: however many ask at once, no more than the limit get in."""

import asyncio

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.admission import Admission, Extent, Share
from acp_runtime.core.budget import Budget, Scope
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import Halted, ResumeSubagent, SessionReady, StopSubagent
from acp_runtime.core.lineage import Lineage, Role, name_of
from acp_runtime.core.model import Order, Reason
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import PARENT, Line

TWO = Admission(per_parent=2, total=3)
STOP = (StopSubagent(Reason.FINISHED, "parent", "done"), Halted(1, confirmed=True))


async def ask(store: Store, number: int, limits: Admission, parent: str = PARENT) -> str:
    """Spawn, and return what came of it: `admitted` or the sentence of the refusal."""
    given = spawn(f"bg-{number:010d}", parent=parent, purpose=f"walk {number}")
    try:
        await store.commit(given.id, None, 0, decide(None, given, 0)[0], admit=limits)
    except Rejected as error:
        return str(error)
    return "admitted"


@pytest.mark.requirement("P06", "B05")
async def test_of_sixty_four_at_once_two_are_admitted(store: Store) -> None:
    answers = await asyncio.gather(*(ask(store, number, TWO) for number in range(64)))
    assert answers.count("admitted") == 2
    assert set(answers) == {"admitted", "Background subagent limit reached for this session."}
    assert [row["n"] for row in await store.query("SELECT count(*) AS n FROM event WHERE version = 1")] == [2]


@pytest.mark.requirement("P06", "P13")
async def test_a_refusal_lists_the_callers_own_that_could_be_stopped(store: Store) -> None:
    await ask(store, 1, TWO, "one")
    await ask(store, 2, TWO, "two")
    await ask(store, 3, TWO, "one")
    given = spawn("bg-0000000004", parent="two")
    with pytest.raises(Rejected, match=r"^Global background subagent limit reached\.$") as caught:
        await store.commit(given.id, None, 0, decide(None, given, 0)[0], admit=TWO)
    assert caught.value.kind == "limit_reached"
    (own,) = caught.value.data["stoppable_subagents"]
    assert own == {
        "id": "bg-0000000002",
        "name": "amber-fox",
        "status": "starting",
        "purpose": "walk 2",
        "agent_kind": "scripted",
        "started_at": "2026-01-01T00:00:00.000Z",
    }
    assert await store.load(given.id) is None


async def test_a_limit_below_one_counts_as_one(store: Store) -> None:
    none = Admission(per_parent=0, total=-3)
    assert await ask(store, 1, none) == "admitted"
    assert await ask(store, 2, none) == "Background subagent limit reached for this session."
    assert await ask(store, 3, none, "another") == "Global background subagent limit reached."


async def test_a_place_is_free_again_when_its_subagent_has_ended_and_not_before(
    store: Store, clock: ManualClock
) -> None:
    line = await Line.begin(store, clock, spawn("bg-0000000009"))
    one = Admission(per_parent=1, total=1)
    await line.take(STOP[0])
    assert await ask(store, 1, one) != "admitted", "its sandbox may still be there"
    await line.take(STOP[1])
    assert await ask(store, 1, one) == "admitted"


async def test_an_alias_has_the_places_of_its_parent(store: Store) -> None:
    await store.alias("one", "one again")
    assert await ask(store, 1, TWO, "one") == "admitted"
    assert await ask(store, 2, TWO, "one again") == "admitted"
    assert await ask(store, 3, TWO, "one") != "admitted"
    assert await ask(store, 4, TWO, "one again") != "admitted"


async def test_one_shot_subagents_have_places_of_their_own(store: Store) -> None:
    one = Admission(per_parent=1, total=1, one_shot=True)
    order = Order(agent="scripted", workspace="/w", one_shot=True)
    born = spawn("bg-0000000001", order=order)
    assert await ask(store, 0, Admission(per_parent=1, total=1)) == "admitted"
    await store.commit(born.id, None, 0, decide(None, born, 0)[0], admit=one)
    again = spawn("bg-0000000009", order=order)
    with pytest.raises(Rejected, match="limit reached for this session") as caught:
        await store.commit(again.id, None, 0, decide(None, again, 0)[0], admit=one)
    assert [each["id"] for each in caught.value.data["stoppable_subagents"]] == ["bg-0000000001"]


async def test_a_subagent_that_is_resumed_needs_a_place_too(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock, spawn(order=Order(agent="scripted", workspace="/w", keep=True)))
    await line.take(SessionReady(1, "s", "agent", "1"), *STOP)
    one = Admission(per_parent=1, total=9)
    assert await ask(store, 1, one) == "admitted"
    state, version = line.committed.state, line.committed.version
    events, _ = decide(state, ResumeSubagent("go on", "parent"), clock.now())
    with pytest.raises(Rejected, match="limit reached for this session"):
        await store.commit(line.id, state, version, events, admit=one)
    assert await store.load(line.id) == line.committed
    again = await store.commit(line.id, state, version, events, admit=Admission(per_parent=2, total=9))
    assert again.state.attempt == 2


@pytest.mark.requirement("O10")
async def test_of_six_at_once_two_are_let_below_a_parent_that_may_ever_have_two(store: Store) -> None:
    two = Admission(shares=(Share(Scope.PARENT, Budget(), Extent(agents=2)),))
    answers = await asyncio.gather(*(ask(store, number, two) for number in range(6)))
    assert answers.count("admitted") == 2
    why = "the parent's budget of 2 agents is used up (2 had); raise parent_budget.agents in config.toml"
    assert set(answers) == {"admitted", f"Nothing was started: {why}"}
    assert await ask(store, 7, two, "somebody else") == "admitted"


@pytest.mark.requirement("O10")
async def test_of_six_at_once_two_are_let_into_a_tree_that_may_ever_have_three(store: Store) -> None:
    three = Admission(shares=(Share(Scope.TREE, Budget(), Extent(agents=3)),))
    top = spawn("bg-0000000099", order=Order(agent="scripted", workspace="/w", lineage=Lineage(Role.ORCHESTRATOR)))
    await store.commit(top.id, None, 0, decide(None, top, 0)[0], admit=three)

    async def below(number: int) -> str:
        place = Lineage(above=(name_of(top.id), PARENT), deepest=2)
        order = Order(agent="scripted", workspace="/w", lineage=place)
        given = spawn(f"bg-{number:010d}", parent=name_of(top.id), order=order)
        try:
            await store.commit(given.id, None, 0, decide(None, given, 0)[0], admit=three)
        except Rejected as error:
            return f"{error.kind} {error.data}"
        return "admitted"

    answers = await asyncio.gather(*map(below, range(6)))
    why = {"scope": "tree", "bound": "agents", "most": 3, "taken": 3}
    assert sorted(answers) == ["admitted"] * 2 + [f"budget_reached {why}"] * 4
    assert await ask(store, 8, three) == "admitted", "the next tree begins anew"
