"""The limits of a caller, as they stand with the tools."""

import json
from dataclasses import replace

import pytest

from acp_runtime.config import load
from acp_runtime.core.admission import Admission
from acp_runtime.tools import TOOLSETS, Limits

pytestmark = pytest.mark.requirement("D10.40")
CHARS_OF_A_TOKEN = 3.5
CONFIG = load(None, {"HOME": "/nowhere"})


def told(limits: Limits, name: str) -> str:
    (tool,) = (each for table in TOOLSETS.values() for each in table if each.name == name)
    return str(tool.schema(limits)["description"])


def test_a_model_reads_how_many_it_may_have_and_which_names_it_may_give() -> None:
    config = replace(CONFIG, admission=Admission(per_parent=3), default_agent="codex")
    said = told(Limits.of(config), "spawn_background_subagent")
    assert "At most 3 are open at one time, and 2 one_shot." in said
    assert "agent_kind: codex, claude, gemini, opencode." in said
    assert "preset: friendly, privileged, restricted." in said
    assert told(Limits.of(config), "delegate_task_async").endswith("At most 2 at one time.")


def test_a_preset_beyond_the_ceiling_is_not_offered() -> None:
    said = told(Limits.of(replace(CONFIG, ceiling="friendly")), "spawn_background_subagent")
    assert "preset: friendly, restricted." in said


def test_one_shot_subagents_that_are_switched_off_are_none() -> None:
    off = replace(CONFIG, one_shot=replace(CONFIG.one_shot, enabled=False))
    assert "and 0 one_shot" in told(Limits.of(off), "spawn_background_subagent")


def test_with_its_limits_the_default_set_still_costs_at_most_1500_tokens() -> None:
    limits = Limits.of(CONFIG)
    written = json.dumps([tool.schema(limits) for tool in TOOLSETS["background"]])
    assert len(written) / CHARS_OF_A_TOKEN <= 1_500
