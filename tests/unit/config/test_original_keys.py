"""The original's keys under `[delegation]`: accepted with their values and defaults, in conflict with none of ours."""

import tomllib
from pathlib import Path

import pytest

from acp_runtime.config import Config, ConfigError, load
from acp_runtime.config.original import ROOT, TRANSLATION
from acp_runtime.config.reference import all_keys
from acp_runtime.core.admission import Admission
from acp_runtime.session.catalogue import builtin_kinds

BACKGROUND = "[delegation.background_subagents]\n"
ASYNC = "[delegation.async_subagents]\n"
AGENTS = "[delegation.background_subagents.agents"
OPENCODE = builtin_kinds()["opencode"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def loaded(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text)
    return load(file, {"HOME": str(file.parent), **environ})


def refused(file: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(file, text)
    return str(caught.value).replace(f"{file}", "FILE").splitlines()


@pytest.mark.requirement("P27")
def test_the_originals_table_brings_its_defaults(file: Path) -> None:
    config = loaded(file, BACKGROUND)
    assert config.enabled is True
    assert config.admission == Admission(per_parent=3, total=8)
    assert (config.limits.idle, config.limits.lifetime) == (900.0, 7200.0)
    assert config.default_agent == "opencode"
    assert config.one_shot.output_dir == ".subagents", "the other table is not there"
    assert config.origins["limits.idle"] == f"{file}:1"


@pytest.mark.requirement("P27")
def test_the_originals_table_of_one_shots_brings_its_defaults(file: Path) -> None:
    one_shot = loaded(file, ASYNC).one_shot
    assert (one_shot.enabled, one_shot.admission) == (True, Admission(2, 4, one_shot=True))
    assert (one_shot.idle, one_shot.duration, one_shot.output_dir) == (900.0, 1800.0, ".hermes-async-delegates")


@pytest.mark.requirement("P27")
def test_each_value_of_the_original_reaches_its_native_key(file: Path) -> None:
    text = f"""{BACKGROUND}enabled = false
max_per_session = 5
max_global = 0
idle_timeout_seconds = 60
max_lifetime_seconds = 70
default_agent_kind = "mine"
{AGENTS}.mine]
command = "mine"
{ASYNC}enabled = false
max_per_session = 6
max_global = 7
idle_timeout_seconds = 80
max_duration_seconds = 90
output_dir = "out/here"
"""
    config = loaded(file, text)
    assert (config.enabled, config.admission) == (False, Admission(5, 1))
    assert (config.limits.idle, config.limits.lifetime, config.default_agent) == (60, 70, "mine")
    assert (config.one_shot.enabled, config.one_shot.admission) == (False, Admission(6, 7, one_shot=True))
    assert (config.one_shot.idle, config.one_shot.duration, config.one_shot.output_dir) == (80, 90, "out/here")
    assert config.origins["limits.lifetime"] == f"{file}:6"


@pytest.mark.requirement("P27")
def test_tables_are_merged_deeply_over_what_was_there(file: Path) -> None:
    text = f"""{AGENTS}.opencode]
args = ["acp", "--verbose"]
env = {{MINE = "1", OPENCODE_DISABLE_AUTOUPDATE = "0"}}
{AGENTS}.other]
command = "other"
{BACKGROUND}max_global = 9
"""
    config = loaded(file, text)
    kind = config.catalogue.kind("opencode")
    assert kind.argv == (OPENCODE.argv[0], "acp", "--verbose")
    assert kind.env == {**OPENCODE.env, "MINE": "1", "OPENCODE_DISABLE_AUTOUPDATE": "0"}
    assert (kind.needs_model, kind.cold_start) == (OPENCODE.needs_model, OPENCODE.cold_start)
    assert config.catalogue.kind("other").argv == ("other",)
    assert config.admission == Admission(3, 9), "what is not said keeps its default"


@pytest.mark.requirement("P27")
def test_a_native_key_beside_the_table_is_stronger_than_its_default(file: Path) -> None:
    config = loaded(file, f'{BACKGROUND}max_global = 9\n[limits]\nidle = "none"\n[admission]\nper_parent = 4\n')
    assert config.limits.idle is None
    assert config.admission == Admission(4, 9)
    assert loaded(file, BACKGROUND, SUBAGENTS_ADMISSION_TOTAL="2").admission == Admission(3, 2)


@pytest.mark.requirement("P27")
def test_the_same_thing_said_by_two_keys_is_told_with_both_places(file: Path) -> None:
    text = f'{BACKGROUND}max_global = 9\n{AGENTS}.a]\ncommand = "a"\n[admission]\ntotal = 9\n[agents.a]\nargv = ["a"]\n'
    number, kind = refused(file, text)
    assert number.startswith(
        "FILE:2: delegation.background_subagents.max_global: admission.total (FILE:6) says the same"
    )
    assert kind.startswith(
        "FILE:3: delegation.background_subagents.agents.a: agents.a (FILE:7) says the same; keep one"
    )


@pytest.mark.requirement("P04")
def test_agent_kinds_are_configuration_with_their_own_environment(file: Path) -> None:
    text = f'{AGENTS}.mine]\ncommand = "/usr/bin/mine"\nargs = ["--acp"]\ncwd_mode = "session"\nenv = {{A = "1"}}\n'
    kind = loaded(file, text).catalogue.kind("mine")
    assert (kind.argv, dict(kind.env)) == (("/usr/bin/mine", "--acp"), {"A": "1"})
    assert kind.environment(model=None, base_url="") == {"A": "1"}


@pytest.mark.requirement("P04")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('args = ["x"]', "FILE:1: background_subagents agent 'x' is missing a command."),
        ('command = " "', "FILE:2: background_subagents agent 'x' is missing a command."),
        ("command = 3", "FILE:2: background_subagents agent 'x' is missing a command."),
        ('command = "x"\nargs = "acp"', "FILE:3: background_subagents agent 'x' args must be a list of strings."),
        ('command = "x"\nargs = ["a", 1]', "FILE:3: background_subagents agent 'x' args must be a list of strings."),
        ('command = "x"\ncwd_mode = "host"', "cwd_mode: input should be 'session' (it is 'host')"),
        ('command = "x"\nshell = "sh"', "unknown key; allowed: args, command, cwd_mode, env"),
    ],
)
def test_a_kind_that_cannot_be_started_is_told_by_name(file: Path, text: str, told: str) -> None:
    [said] = refused(file, f"{AGENTS}.x]\n{text}\n")
    assert told in said


def test_every_key_of_the_original_is_translated_or_an_agent_kind() -> None:
    theirs = {key.path[1:] for key in all_keys() if key.path[0] == ROOT and "agents" not in key.path}
    assert theirs == set(TRANSLATION)
    ours = {key.path for key in all_keys()}
    assert set(TRANSLATION.values()) <= ours


def test_the_texts_of_this_page_are_toml() -> None:
    assert tomllib.loads(BACKGROUND + ASYNC)
