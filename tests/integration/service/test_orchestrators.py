"""Subagents that lead others: who may spawn, who sees whom, who is asked, and what each may give away."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.callers import OPERATOR, Caller, Leader, admitted
from acp_runtime.clock import SystemClock
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Orchestration, Role, name_of
from acp_runtime.core.model import Permissions
from acp_runtime.presets import Network, Preset
from acp_runtime.service import Runtime
from acp_runtime.tools import TOOLSETS, Defaults, Desk, Toolbox
from acp_runtime.views import SubagentView
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until

STRANGER = "stranger"


@dataclass
class Tree:
    """A parent, its orchestrator, and the orchestrator's two leaves, all at work until told to end."""

    ground: Ground
    runtime: Runtime
    leader: SubagentView
    leaves: tuple[SubagentView, ...]

    @property
    def as_leader(self) -> Leader:
        return Leader(self.leader.id)

    async def spawn(self, caller: Caller, task: str = "[[wait:go]]", **changes: Any) -> SubagentView:
        return await self.runtime.spawn(caller, self.ground.request(task, **changes))

    def tools(self, parent: str) -> Toolbox:
        return Toolbox(Desk(self.runtime, parent, self.ground.folder, Defaults(agent="scripted")), tuple(TOOLSETS))


@pytest.fixture
async def tree(ground: Ground) -> AsyncIterator[Tree]:
    ground.clock = SystemClock()
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    async with ground.runtime() as runtime:
        made = Tree(
            ground, runtime, await runtime.spawn(PARENT, ground.request("[[wait:go]]", role="orchestrator")), ()
        )
        leaves = [await made.spawn(made.as_leader, f"[[say:leaf {number}]]") for number in (1, 2)]
        yield replace(made, leaves=tuple(leaves))
        (ground.folder / "go").touch()


@pytest.mark.requirement("O01", "O03")
async def test_an_orchestrator_has_leaves_and_a_leaf_has_nobody(tree: Tree) -> None:
    assert (tree.leader.role, tree.leader.depth) == (Role.ORCHESTRATOR, 1)
    for leaf in tree.leaves:
        assert (leaf.parent, leaf.role, leaf.depth) == (name_of(tree.leader.id), Role.LEAF, 2)
    with pytest.raises(Rejected, match=r"\(depth=2, max_spawn_depth=2\)") as caught:
        await tree.spawn(Leader(tree.leaves[0].id))
    assert caught.value.kind == "depth_limit"
    below = await tree.spawn(PARENT)
    with pytest.raises(Rejected, match="You are a leaf") as caught:
        await tree.spawn(Leader(below.id))
    assert caught.value.kind == "not_an_orchestrator"
    assert len(await tree.runtime.list_subagents(OPERATOR)) == 4


@pytest.mark.requirement("O02", "A09")
async def test_by_default_trees_are_flat_and_every_tool_that_spawns_says_so(ground: Ground) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        tree = Tree(
            ground, runtime, await runtime.spawn(PARENT, ground.request("[[wait:go]]", role="orchestrator")), ()
        )
        assert tree.leader.role is Role.LEAF
        assert "max_spawn_depth=1" in tree.leader.role_note
        tools = tree.tools(tree.as_leader)
        spawned = await tools.call(
            "spawn_background_subagent", {"purpose": "p", "initial_task": "t", "cwd": "/workspace"}
        )
        delegated = await tools.call("delegate_task_async", {"goal": "g"})
        for told in (spawned, delegated):
            assert (told["success"], told["kind"]) == (False, "depth_limit")
            assert told["error"].startswith("Delegation depth limit reached (depth=1, max_spawn_depth=1). ")
            assert (told["depth"], told["max_spawn_depth"]) == (1, 1)
        assert len(await runtime.list_subagents(OPERATOR)) == 1
        (ground.folder / "go").touch()


@pytest.mark.requirement("O01")
async def test_each_entry_of_a_batch_has_its_own_role_and_a_warning_is_told(tree: Tree) -> None:
    each = {"purpose": "p", "initial_task": "[[wait:go]]", "cwd": "/workspace"}
    tasks = [each, {**each, "role": "leaf"}, {**each, "role": "king"}]
    told = await tree.tools(PARENT).call("spawn_background_subagent", {**each, "role": "Orchestrator", "tasks": tasks})
    assert told["success"], told
    assert [one.get("role", "leaf") for one in told["subagents"]] == ["orchestrator", "orchestrator", "leaf", "leaf"]
    warned = [one.get("warnings") for one in told["subagents"]]
    assert warned == [None, None, None, ["There is no role 'king' (there are leaf and orchestrator), so it is a leaf."]]


@pytest.mark.requirement("T24")
async def test_who_stands_above_sees_and_may_stop_what_is_below_and_nobody_else_does(tree: Tree) -> None:
    leaf = tree.leaves[0].id
    for caller in (PARENT, tree.as_leader, OPERATOR):
        assert (await tree.runtime.status(caller, leaf)).id == leaf
        assert await tree.runtime.find(caller, leaf) == leaf
    for caller in (STRANGER, Leader(leaf), Leader(tree.leaves[1].id), name_of(tree.leaves[0].id)):
        foreign = await refusal(tree.runtime, caller, tree.leaves[1].id if caller == Leader(leaf) else leaf)
        assert foreign == await refusal(tree.runtime, caller, "bg-0000000000")
    # What leads it is above it, not below.
    with pytest.raises(Rejected, match="Unknown background subagent"):
        await tree.runtime.status(tree.as_leader, tree.leader.id)
    assert [view.id for view in await tree.runtime.list_subagents(PARENT)] == [tree.leader.id]
    assert [view.id for view in await tree.runtime.list_subagents(tree.as_leader)] == [one.id for one in tree.leaves]


async def refusal(runtime: Runtime, caller: Caller, subagent: str) -> str:
    with pytest.raises(Rejected) as caught:
        await runtime.status(caller, subagent)
    return str(caught.value).replace(subagent, "ID")


async def test_what_an_ancestor_did_is_told_to_the_parent_that_did_not_do_it(tree: Tree) -> None:
    leaf = await tree.spawn(tree.as_leader, "[[wait:never]]")
    await until(tree.runtime, leaf.id, lambda view: view.current_task is not None)
    stopped = await tree.runtime.stop(PARENT, leaf.id)
    assert (stopped.reason, stopped.cause) == ("stopped_by_ancestor", "stopped by its ancestor")
    told = [each.subagent for each in await tree.runtime.nudges(tree.as_leader)]
    assert leaf.id in told
    assert leaf.id not in [each.subagent for each in await tree.runtime.nudges(PARENT)]


@pytest.mark.parametrize("who", ["root", "leader", "operator"])
async def test_a_permission_is_asked_of_the_root_and_answered_by_anybody_above(tree: Tree, who: str) -> None:
    leaf = await tree.spawn(tree.as_leader, "[[ask:allow_once,reject_once]]", permissions=Permissions.ASK)
    asking = await until(tree.runtime, leaf.id, lambda view: bool(view.requests))
    assert [(each.subagent, each.kind) for each in await tree.runtime.nudges(PARENT, state="pending")] == [
        (leaf.id, "needs_permission")
    ]
    assert leaf.id not in [each.subagent for each in await tree.runtime.nudges(tree.as_leader)]
    for stranger in (STRANGER, Leader(tree.leaves[0].id), Leader(leaf.id)):
        with pytest.raises(Rejected, match="Unknown background subagent"):
            await tree.runtime.answer(stranger, leaf.id, asking.requests[0].id, "opt-0")
    caller: Caller = {"root": PARENT, "leader": tree.as_leader, "operator": OPERATOR}[who]
    await tree.runtime.answer(caller, leaf.id, asking.requests[0].id, "opt-0")
    waited = await tree.runtime.wait(PARENT, [leaf.id], seconds=BOUND)
    assert "chose opt-0" in waited.views[0].newest.result


@pytest.mark.requirement("T24")
async def test_a_subagent_gets_nothing_for_its_own_that_it_does_not_have_itself(ground: Ground) -> None:
    ground.clock = SystemClock()
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    narrow, wide = (Preset(name, "", Confinement(memory=memory)) for name, memory in (("narrow", 512), ("wide", 4096)))
    ground.presets = (replace(narrow, permissions=Permissions.ASK), wide)
    async with ground.runtime() as runtime:
        asked = ground.request("[[wait:go]]", role="orchestrator", preset="narrow", model_key="env:KEY")
        tree = Tree(ground, runtime, await runtime.spawn(PARENT, asked), ())
        led = await tree.spawn(tree.as_leader)
        assert led.preset == "narrow"
        for changes, kind in (
            ({"preset": "wide"}, "beyond_ceiling"),
            ({"permissions": Permissions.ALLOW}, "beyond_ceiling"),
            ({"memory": 513}, "beyond_ceiling"),
            ({"egress": ("example.org",)}, "beyond_ceiling"),
            ({"workspace": ground.folder.parent}, "invalid"),
            ({"workspace": Path("/etc")}, "invalid"),
            ({"model_key": "command:id"}, "override_refused"),
            ({"model_url": "http://127.0.0.1:1/v1"}, "override_refused"),
            ({"image": "debian"}, "override_refused"),
        ):
            with pytest.raises(Rejected) as caught:
                await tree.spawn(tree.as_leader, **changes)
            assert caught.value.kind == kind, changes
        assert ground.asked[-1].order.model_key == "env:KEY"
        (ground.folder / "go").touch()


@pytest.mark.requirement("T24")
async def test_a_subagent_hands_down_the_hosts_that_it_was_given_beside_its_preset(ground: Ground) -> None:
    ground.clock = SystemClock()
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    web = Preset("web", "", Confinement(), network=Network.EGRESS, egress=Egress(("known.example.org",)))
    ground.presets = (web, replace(web, name="most", egress=Egress(("*.example.org",))))
    known, own = "known.example.org:443", "own.example.org:443"
    async with ground.runtime() as runtime:
        asked = ground.request("[[wait:go]]", role="orchestrator", preset="web", egress=("own.example.org",))
        tree = Tree(ground, runtime, await runtime.spawn(PARENT, asked), ())
        for changes, reached in (({}, {known, own}), ({"preset": "web"}, {known})):
            led = await tree.spawn(tree.as_leader, **changes)
            await until(runtime, led.id, lambda view: view.current_task is not None)
            egress = ground.asked[-1].egress()
            assert egress is not None
            assert set(egress.rules) == reached
            page = await runtime.poll(OPERATOR, led.id, since=0)
            assert [row.data for row in page.rows if row.kind == "egress_changed"] == []
        (ground.folder / "go").touch()


@pytest.mark.requirement("O05")
async def test_one_shots_of_an_orchestrator_take_its_places_and_those_of_others_have_their_own(tree: Tree) -> None:
    await tree.spawn(tree.as_leader, one_shot=True)
    for one_shot in (True, False):
        with pytest.raises(Rejected, match="limit reached for this session"):
            await tree.spawn(tree.as_leader, one_shot=one_shot)
    each = {"purpose": "p", "initial_task": "[[wait:go]]", "cwd": "/workspace"}
    tasks = [{**each, "one_shot": True}, {**each, "one_shot": True}, each]
    told = await tree.tools(tree.as_leader).call("spawn_background_subagent", {**each, "tasks": tasks})
    assert (told["kind"], told["error"][:60]) == (
        "too_many_tasks", "Too many tasks: 4 provided, but max_concurrent_children is 3"
    )  # fmt: skip
    told = await tree.tools(PARENT).call("spawn_background_subagent", {**each, "tasks": tasks})
    assert [one["success"] for one in told["subagents"]] == [True] * 4


async def test_one_shots_of_a_subagent_write_nothing_beside_the_hosts_files(tree: Tree) -> None:
    led = await tree.spawn(tree.as_leader, "[[say:x]]", one_shot=True)
    assert led.output_file is None
    await tree.runtime.wait(PARENT, [led.id], seconds=BOUND)
    assert not (tree.ground.folder / ".subagents").exists()


@pytest.mark.requirement("O05")
async def test_an_orchestrator_has_no_more_at_one_time_than_is_configured(tree: Tree) -> None:
    for _ in range(3 - len(tree.leaves)):
        await tree.spawn(tree.as_leader)
    with pytest.raises(Rejected, match="limit reached for this session") as caught:
        await tree.spawn(tree.as_leader)
    stoppable = [each["id"] for each in caught.value.data["stoppable_subagents"]]
    assert stoppable[:2] == [leaf.id for leaf in tree.leaves]
    await tree.spawn(PARENT)


@pytest.mark.requirement("O05")
async def test_a_batch_for_which_there_are_never_places_is_refused_whole_with_both_numbers(tree: Tree) -> None:
    each = {"purpose": "p", "initial_task": "[[say:x]]", "cwd": "/workspace"}
    for parent, more, sentence in (
        (tree.as_leader, 3, "Too many tasks: 4 provided, but max_concurrent_children is 3."),
        (PARENT, 8, "Too many tasks: 9 provided, but admission.per_parent is 8."),
    ):
        told = await tree.tools(parent).call("spawn_background_subagent", {**each, "tasks": [each] * more})
        assert (told["success"], told["kind"]) == (False, "too_many_tasks")
        assert told["error"].startswith(sentence)
    assert len(await tree.runtime.list_subagents(OPERATOR, ended=True)) == 3


def test_no_door_lets_a_parent_in_under_the_name_of_a_subagent() -> None:
    for taken in ("subagent:bg-1", "subagent:"):
        with pytest.raises(Rejected, match="are those of subagents"):
            admitted(taken)
    assert admitted(Leader("bg-1")) == "subagent:bg-1"


@pytest.mark.requirement("T24")
async def test_a_text_is_never_taken_for_a_subagent(tree: Tree) -> None:
    forged = name_of(tree.leader.id)
    for attempt in (
        tree.spawn(forged),
        tree.runtime.begin_turn(forged, "test", "1"),
        tree.runtime.alias(PARENT, forged),
        tree.runtime.alias(forged, "other"),
    ):
        with pytest.raises(Rejected, match="are those of subagents"):
            await attempt
    told = await tree.tools(forged).call("list_background_subagents")
    assert (told["success"], told["kind"]) == (False, "invalid")
