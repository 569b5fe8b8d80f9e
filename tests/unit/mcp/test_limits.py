"""The limits of a caller, as they stand with the tools."""

import json
from dataclasses import replace

import pytest

from acp_runtime.config import load
from acp_runtime.core.admission import Admission
from acp_runtime.core.lineage import Lineage, Orchestration, Role
from acp_runtime.core.model import Order
from acp_runtime.tools import TOOLSETS, Limits
from tests.histories import ready, spawn

pytestmark = pytest.mark.requirement("D10.40")
CHARS_OF_A_TOKEN = 3.5
PARENT, SPAWN = "parent", "spawn_background_subagent"
CONFIG = load(None, {"HOME": "/nowhere"})


def told(limits: Limits, name: str) -> str:
    (tool,) = (each for table in TOOLSETS.values() for each in table if each.name == name)
    return str(tool.schema(limits)["description"])


def test_a_model_reads_how_many_it_may_have_and_which_names_it_may_give() -> None:
    config = replace(CONFIG, admission=Admission(per_parent=3), default_agent="codex")
    said = told(Limits.of(config), SPAWN)
    assert "At most 3 are open at one time, and 2 one_shot." in said
    assert "agent_kind: codex, claude, gemini, opencode." in said
    assert "preset: friendly, privileged, restricted. role: leaf." in said
    deep = replace(config, orchestration=Orchestration(max_spawn_depth=2))
    assert "role: leaf, orchestrator." in told(Limits.of(deep), SPAWN)
    assert told(Limits.of(config), "delegate_task_async").endswith("At most 2 at one time.")


def test_a_preset_beyond_the_ceiling_is_not_offered() -> None:
    said = told(Limits.of(replace(CONFIG, ceiling="friendly")), SPAWN)
    assert "preset: friendly, restricted." in said


def test_one_shot_subagents_that_are_switched_off_are_none() -> None:
    off = replace(CONFIG, one_shot=replace(CONFIG.one_shot, enabled=False))
    assert "and 0 one_shot" in told(Limits.of(off), SPAWN)


@pytest.mark.parametrize(("deepest", "roles"), [(2, "leaf"), (3, "leaf, orchestrator")])
def test_who_leads_others_reads_what_it_may_give_itself(deepest: int, roles: str) -> None:
    limits = Orchestration(max_spawn_depth=deepest, max_concurrent_children=5)
    place = Lineage(Role.ORCHESTRATOR, (PARENT,), deepest)
    order = Order(agent="gemini", workspace="/w", preset="friendly", lineage=place)
    said = told(Limits.below(replace(CONFIG, orchestration=limits), ready(spawn(order=order))), SPAWN)
    assert "At most 5 are open at one time, one_shot ones among them. agent_kind: gemini, claude, " in said
    assert f"preset: friendly, restricted. role: {roles}." in said


def test_with_its_limits_the_default_set_still_costs_at_most_1500_tokens() -> None:
    limits = Limits.of(CONFIG)
    written = json.dumps([tool.schema(limits) for tool in TOOLSETS["background"]])
    assert len(written) / CHARS_OF_A_TOKEN <= 1_500
