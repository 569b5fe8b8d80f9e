"""The configuration is read again while subagents run: what they reach follows it, and their logs say so."""

import asyncio
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.presets import Preset
from tests.integration.manager.conftest import BOUND, PARENT, Ground
from tests.integration.manager.test_take_up import READY, left_behind
from tests.integration.service.test_egress_questions import DENIED, LET_THROUGH, MOST, RULE, WEB, Site, opened, site

__all__ = ["site"]

KNOWN = "known.example.org:443"


def web(*rules: str, **changes: object) -> Preset:
    return replace(WEB, egress=Egress(rules), **changes)


async def changes(site: Site, subagent: str) -> list[dict[str, object]]:
    page = await site.runtime.poll(OPERATOR, subagent, since=0)
    return [row.data for row in page.rows if row.kind == "egress_changed"]


async def told(site: Site, subagent: str, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(BOUND):
        while len(found := await changes(site, subagent)) < count:
            await site.runtime.changed(site.runtime.tick)
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
