"""Who is above whom is kept for every subagent, follows a parent to its other names, and goes with the log."""

from acp_runtime.clock import ManualClock
from acp_runtime.core.inputs import Halted, SessionReady, StopSubagent
from acp_runtime.core.lineage import Lineage, Role, name_of
from acp_runtime.core.model import Order, Reason
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import Line, dump

LEADER, LEAF = "bg-0000000001", "bg-0000000002"
KIN = "SELECT above, up FROM kin WHERE subagent = ? ORDER BY up"


async def led(store: Store, clock: ManualClock, ident: str, *above: str) -> Line:
    order = Order(agent="scripted", workspace="/w", lineage=Lineage(Role.ORCHESTRATOR, above, 3))
    return await Line.begin(store, clock, spawn(ident, parent=above[0], order=order))


async def kin(store: Store, subagent: str) -> list[tuple[str, int]]:
    return [(row["above"], row["up"]) for row in await store.query(KIN, subagent)]


async def test_all_that_stand_above_are_known_under_the_names_they_have_now(store: Store, clock: ManualClock) -> None:
    await store.alias("editor", "session 2")
    await led(store, clock, LEADER, "session 2")
    await led(store, clock, LEAF, name_of(LEADER), "session 2")
    assert await kin(store, LEADER) == [("editor", 1)]
    assert await kin(store, LEAF) == [(name_of(LEADER), 1), ("editor", 2)]
    await store.alias("hook", "editor")
    assert await kin(store, LEAF) == [(name_of(LEADER), 1), ("hook", 2)]
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live


async def test_a_leaf_keeps_its_root_when_the_log_of_its_leader_is_deleted(store: Store, clock: ManualClock) -> None:
    leader = await led(store, clock, LEADER, "editor")
    await led(store, clock, LEAF, name_of(LEADER), "editor")
    stop = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")
    await leader.take(SessionReady(1, "s", "agent", "1"), stop, Halted(1, confirmed=True))
    await store.remove(LEADER, by="parent")
    assert await kin(store, LEADER) == []
    assert await kin(store, LEAF) == [(name_of(LEADER), 1), ("editor", 2)]
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live
