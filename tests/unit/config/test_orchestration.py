"""`[orchestration]`: values that cannot hold are told, and others hold instead."""

import logging
from pathlib import Path

import pytest

from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.lineage import DEEPEST, Orchestration


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def loaded(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text)
    return load(file, {"HOME": str(file.parent), **environ})


def test_nobody_leads_others_where_nothing_is_said(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert loaded(file, "").orchestration == Orchestration(max_spawn_depth=1, enabled=True, max_concurrent_children=3)
    assert caplog.messages == []


@pytest.mark.requirement("O03", "O05")
@pytest.mark.parametrize(
    ("name", "given", "held", "told"),
    [
        ("max_spawn_depth", "2", 2, ""),
        ("max_spawn_depth", '" 3 "', 3, ""),
        ("max_spawn_depth", "0", 1, f"0 is out of bounds (1 to {DEEPEST}); 1 holds"),
        ("max_spawn_depth", "99", DEEPEST, f"99 is out of bounds (1 to {DEEPEST}); {DEEPEST} holds"),
        ("max_spawn_depth", '"deep"', 1, "'deep' is no number; 1 holds"),
        ("max_spawn_depth", "true", 1, "True is no number; 1 holds"),
        ("max_spawn_depth", "1.5", 1, "1.5 is no number; 1 holds"),
        ("max_spawn_depth", '"--2"', 1, "'--2' is no number; 1 holds"),
        ("max_concurrent_children", "0", 1, "0 is out of bounds (1 to 1000000); 1 holds"),
        ("max_concurrent_children", "-4", 1, "-4 is out of bounds (1 to 1000000); 1 holds"),
        ("max_concurrent_children", "500", 500, ""),
        ("max_concurrent_children", "[1]", 3, "[1] is no number; 3 holds"),
    ],
)
def test_a_number_that_cannot_hold_is_told_and_another_one_holds(
    file: Path, caplog: pytest.LogCaptureFixture, *, name: str, given: str, held: int, told: str
) -> None:
    config = loaded(file, f"[orchestration]\n{name} = {given}\n")
    assert getattr(config.orchestration, name) == held
    assert config.values[f"orchestration.{name}"] == held
    assert caplog.messages == ([f"{file}:2: orchestration.{name}: {told}"] if told else [])
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}


@pytest.mark.requirement("O04")
@pytest.mark.parametrize(
    ("given", "held", "told"),
    [
        ("true", True, ""), ("false", False, ""), ('"TRUE"', True, ""), ('"1"', True, ""), ("1", True, ""),
        ('"yes"', True, ""), ('" On "', True, ""), ('"off"', False, ""), ('"no"', False, ""), ("0", False, ""),
        ('"perhaps"', True, "'perhaps' is neither true nor false; true holds"),
        ("2.5", True, "2.5 is neither true nor false; true holds"),
    ],
)  # fmt: skip
def test_the_kill_switch_is_a_boolean_or_one_of_the_words(
    file: Path, caplog: pytest.LogCaptureFixture, given: str, held: bool, told: str
) -> None:
    assert loaded(file, f"[orchestration]\norchestrator_enabled = {given}\n").orchestration.enabled is held
    assert caplog.messages == ([f"{file}:2: orchestration.orchestrator_enabled: {told}"] if told else [])


def test_variables_say_it_too(file: Path) -> None:
    environ = {
        "SUBAGENTS_ORCHESTRATION_MAX_SPAWN_DEPTH": "4",
        "SUBAGENTS_ORCHESTRATION_ORCHESTRATOR_ENABLED": "off",
    }
    config = loaded(file, "", **environ)
    assert config.orchestration == Orchestration(max_spawn_depth=4, enabled=False)


@pytest.mark.requirement("O05")
@pytest.mark.parametrize(
    ("text", "environ", "held", "origin"),
    [
        ("", {}, 5, "environment DELEGATION_MAX_CONCURRENT_CHILDREN"),
        ("[orchestration]\nmax_concurrent_children = 7\n", {}, 7, "{}:2"),
        ("[delegation]\nmax_concurrent_children = 7\n", {}, 7, "{}:2"),
        ("", {"SUBAGENTS_ORCHESTRATION_MAX_CONCURRENT_CHILDREN": "8"}, 8,
         "environment SUBAGENTS_ORCHESTRATION_MAX_CONCURRENT_CHILDREN"),
    ],
)  # fmt: skip
def test_the_originals_variable_counts_where_nothing_else_says_it(
    file: Path, text: str, environ: dict[str, str], held: int, origin: str
) -> None:
    config = loaded(file, text, DELEGATION_MAX_CONCURRENT_CHILDREN="5", **environ)
    assert config.orchestration.max_concurrent_children == held
    assert config.origins["orchestration.max_concurrent_children"] == origin.format(file)


@pytest.mark.parametrize(("given", "held"), [("many", 3), ("0", 1)])
def test_the_originals_variable_is_held_to_the_same_bounds(
    file: Path, caplog: pytest.LogCaptureFixture, given: str, held: int
) -> None:
    config = loaded(file, "", DELEGATION_MAX_CONCURRENT_CHILDREN=given)
    assert config.orchestration.max_concurrent_children == held
    assert caplog.messages[0].startswith("environment DELEGATION_MAX_CONCURRENT_CHILDREN: orchestration.max_concurr")


def test_the_originals_keys_say_the_same(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = '[delegation]\nmax_spawn_depth = 99\nmax_concurrent_children = 5\norchestrator_enabled = "yes"\n'
    config = loaded(file, text)
    assert config.orchestration == Orchestration(DEEPEST, enabled=True, max_concurrent_children=5)
    assert config.origins["orchestration.max_concurrent_children"] == f"{file}:3"
    assert caplog.messages == [
        f"{file}:2: orchestration.max_spawn_depth: 99 is out of bounds (1 to {DEEPEST}); {DEEPEST} holds"
    ]


def test_both_keys_at_once_are_a_mistake(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"delegation\.max_spawn_depth: orchestration\.max_spawn_depth .* says the same"
    ):
        loaded(file, "[delegation]\nmax_spawn_depth = 2\n[orchestration]\nmax_spawn_depth = 2\n")
