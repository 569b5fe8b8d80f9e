"""The configuration is read again while subagents run: what they reach follows it, and their logs say so."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR, Caller, Leader
from acp_runtime.clock import SystemClock
from acp_runtime.core.admission import Extent, Share
from acp_runtime.core.budget import Budget, Scope
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.status import Status
from acp_runtime.gateway.account import Account
from acp_runtime.manager.egress_way import egress_way
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.presets import Preset
from acp_runtime.service import Runtime
from tests.integration.egress_site import Site as Ends
from tests.integration.egress_site import listening
from tests.integration.gateway.gateway_site import gateway_site
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.manager.test_take_up import READY, left_behind
from tests.integration.service.test_egress_questions import DENIED, LET_THROUGH, MOST, RULE, WEB, Site, opened, site
from tests.unit.egress.test_client_hello import hello

__all__ = ["site"]

KNOWN = "known.example.org:443"


def web(*rules: str, **changes: object) -> Preset:
    return replace(WEB, egress=Egress(rules), **changes)


async def changes(site: Site, subagent: str) -> list[dict[str, object]]:
    page = await site.runtime.poll(OPERATOR, subagent, since=0)
    return [row.data for row in page.rows if row.kind == "egress_changed"]


async def told(site: Site, subagent: str, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(BOUND):
        tick = site.runtime.tick
        while len(found := await changes(site, subagent)) < count:
            await site.runtime.changed(tick)
            tick = site.runtime.tick
    return found


@pytest.mark.requirement("D09.34", "T7")
async def test_a_rule_that_was_removed_is_taken_from_what_runs_and_a_new_one_given(ground: Ground, site: Site) -> None:
    subagent, other = await site.spawn(), await site.spawn(preset="most")
    assert LET_THROUGH in await site.tried(subagent, KNOWN)
    ground.presets = (web("api.example.org:443"), MOST)
    found = await site.runtime.reload(OPERATOR)
    assert [(each.subagent, each.gained, each.lost) for each in found.subagents] == [(subagent, (RULE,), (KNOWN,))]
    await site.tried_until(subagent, RULE, LET_THROUGH)
    await site.tried_until(subagent, KNOWN, DENIED)
    assert await told(site, subagent, 1) == [{"gained": [RULE], "lost": [KNOWN], "by": "operator"}]
    assert (await site.runtime.reload(OPERATOR)).subagents == ()
    assert len(await changes(site, subagent)) == 1
    assert await changes(site, other) == []
    assert LET_THROUGH in await site.tried(other, KNOWN)


@pytest.mark.requirement("D09.34", "T7")
async def test_an_open_tunnel_is_cut_with_its_rule_and_one_that_is_still_allowed_goes_on(
    ground: Ground, tmp_path: Path
) -> None:
    ground.clock, asked = SystemClock(), []
    socket, name = tmp_path / "agent" / "egress.sock", "localhost"
    async with gateway_site(tmp_path) as gateway, listening() as gone, listening() as kept, ground.runtime() as runtime:
        link = gateway.link()

        def make_way(request: LaunchRequest) -> Callable[[], None]:
            def account() -> Account:
                return Account(request.subagent, 1, os.getgid(), egress=egress_way(request, socket))

            async def permit() -> None:
                await asked[0]
                await link.refresh(request.subagent)

            asked.append(asyncio.create_task(link.open(account)))
            return lambda: asked.append(asyncio.create_task(permit()))

        ground.way_of = make_way
        rules = [f"unsafe_private:{name}:{host.port}" for host in (gone, kept)]
        ground.presets = (web(*rules), MOST)
        await runtime.reload(OPERATOR)
        view = await runtime.spawn(OPERATOR, ground.request("[[wait:go]]", preset="web"))
        await until(runtime, view.id, lambda each: each.status is Status.RUNNING, OPERATOR)
        await asked[0]
        first, second = (Ends(socket, host, None, [], []).tunnel(name) for host in (gone, kept))
        async with first as (cut, writer), second as (open_still, other):
            for each in (writer, other):
                each.write(hello(name))
            assert await cut.readuntil(b"ok") == await open_still.readuntil(b"ok")
            ground.presets = (web(rules[1]), MOST)
            assert [each.lost for each in (await runtime.reload(OPERATOR)).subagents] == [(rules[0],)]
            async with asyncio.timeout(BOUND):
                with suppress(ConnectionResetError):
                    assert await cut.read() == b""
            other.write(b"more")
            assert await open_still.readuntil(b"ok") == kept.answer
        await asyncio.gather(*asked)
        (ground.folder / "go").touch()


@pytest.mark.requirement("D09.34")
async def test_what_was_spawned_with_stays_and_a_lower_ceiling_takes_it_from_a_parents_alone(
    ground: Ground, site: Site
) -> None:
    mine, theirs = (
        await site.spawn(OPERATOR, egress=("own.example.org",)),
        await site.spawn(egress=("own.example.org",)),
    )
    ground.presets = (web(), replace(MOST, egress=Egress(("api.example.org",))))
    found = await site.runtime.reload(OPERATOR)
    own = "own.example.org:443"
    assert [(each.subagent, each.lost) for each in found.subagents] == [(mine, (KNOWN,)), (theirs, (KNOWN, own))]
    await site.tried_until(theirs, own, DENIED)
    assert LET_THROUGH in await site.tried(mine, own)


@pytest.mark.requirement("D09.34")
async def test_a_configuration_with_a_mistake_is_refused_whole_and_the_old_one_holds(
    ground: Ground, site: Site
) -> None:
    subagent = await site.spawn()
    ground.mistake = "/c.toml:3: presets.web.egress: the egress rule '*' allows everything"
    with pytest.raises(Rejected, match=r"presets\.web\.egress: the egress rule .* allows everything") as refused:
        await site.runtime.reload(OPERATOR)
    assert refused.value.kind == "config_error"
    with pytest.raises(Rejected) as refused:
        await site.runtime.reload(PARENT)
    assert refused.value.kind == "operator_only"
    assert LET_THROUGH in await site.tried(subagent, KNOWN)
    assert await changes(site, subagent) == []


@pytest.mark.requirement("D09.34")
async def test_what_only_a_start_can_give_stays_and_is_named(ground: Ground, site: Site) -> None:
    subagent = await site.spawn()
    ground.presets = (web("known.example.org", confinement=Confinement(memory=64)), MOST)
    ground.changes = {"values": {"limits.task": 1.0, "presets.web.memory": 64}}
    found = await site.runtime.reload(OPERATOR)
    assert [(each.subagent, each.gained, each.lost, each.kept) for each in found.subagents] == [
        (subagent, (), (), ("memory",))
    ]
    assert "limits.task" in found.restart
    assert "presets.web.memory" not in found.restart


@pytest.mark.requirement("D09.34")
async def test_a_manager_that_starts_with_another_configuration_puts_it_in_force_for_what_it_finds(
    ground: Ground,
) -> None:
    before = Egress((KNOWN, "own.example.org:443"))
    subagent = await left_behind(ground, READY, preset="web", egress=before, beside=Egress(("own.example.org:443",)))
    ground.presets = (web("api.example.org"), MOST)
    async with opened(ground) as site:
        assert await told(site, subagent, 1) == [{"gained": [RULE], "lost": [KNOWN], "by": "manager"}]


async def refused(runtime: Runtime, ground: Ground, caller: Caller) -> str:
    with pytest.raises(Rejected) as caught:
        await runtime.spawn(caller, ground.request("[[wait:go]]"))
    return caught.value.kind


@pytest.mark.requirement("D09.34", "O04")
async def test_the_bounds_of_trees_hold_anew_for_each_spawn_and_whoever_is_there_goes_on(ground: Ground) -> None:
    ground.clock, ground.changes["orchestration"] = SystemClock(), Orchestration(max_spawn_depth=2)
    async with ground.runtime() as runtime:
        top = await runtime.spawn(PARENT, ground.request("[[wait:go]]", role="orchestrator"))
        leader = Leader(top.id)
        await runtime.spawn(leader, ground.request("[[wait:go]]"))
        for orchestration, kind in (
            (Orchestration(max_spawn_depth=2, max_concurrent_children=1), "limit_reached"),
            (Orchestration(max_spawn_depth=1), "depth_limit"),
            (Orchestration(max_spawn_depth=2, enabled=False), "not_an_orchestrator"),
        ):
            ground.changes["orchestration"] = orchestration
            assert (await runtime.reload(OPERATOR)).restart == ()
            assert await refused(runtime, ground, leader) == kind
        new = await runtime.spawn(PARENT, ground.request("[[wait:go]]", role="orchestrator"))
        assert (new.role, "switched off" in new.role_note) == ("leaf", True)
        ground.changes["orchestration"] = Orchestration(max_spawn_depth=3)
        ground.changes["tree_budget"] = Share(Scope.TREE, Budget(), Extent(agents=3))
        await runtime.reload(OPERATOR)
        deeper = await runtime.spawn(leader, ground.request("[[wait:go]]", role="orchestrator"))
        assert (deeper.role, await refused(runtime, ground, leader)) == ("orchestrator", "budget_reached")
        ground.changes["tree_budget"] = Share(Scope.TREE, Budget(), Extent(agents=4))
        await runtime.reload(OPERATOR)
        await runtime.spawn(Leader(deeper.id), ground.request("[[wait:go]]"))
        there = await runtime.tree(PARENT)
        assert [each.role for each in there] == ["orchestrator", "leaf", "orchestrator", "leaf", "leaf"]
        (ground.folder / "go").touch()


@pytest.mark.requirement("D09.34")
async def test_who_leads_is_woken_as_often_as_the_configuration_of_now_says(ground: Ground) -> None:
    ground.clock, ground.changes["orchestration"] = SystemClock(), Orchestration(max_spawn_depth=2, wakes=0)
    async with ground.runtime() as runtime:
        top = await runtime.spawn(PARENT, ground.request("[[say:begun]]", role="orchestrator"))
        await until(runtime, top.id, lambda each: each.newest.state.over)
        leaf = await runtime.spawn(Leader(top.id), ground.request("[[say:x]]"))
        await until(runtime, leaf.id, lambda each: each.settled)
        assert (await until(runtime, top.id, lambda each: each.settled)).newest.result == "begun"
        ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
        await runtime.reload(OPERATOR)
        await runtime.spawn(Leader(top.id), ground.request("[[say:x]]"))
        await until(runtime, top.id, lambda each: len(each.tasks) > 1 and each.settled)
