"""The reference of all keys: whole, current, and what the example for a new file is made from."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from acp_runtime.config import load
from acp_runtime.config.reference import Key, all_keys, example, in_force
from acp_runtime.core.budget import Bound
from acp_runtime.core.model import Limits
from docs.configuration import PAGE, page

ROOT = Path(__file__).parents[3]


def test_the_page_is_made_from_the_models() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python -m docs.configuration"


@pytest.mark.parametrize("key", all_keys(), ids=lambda key: key.name)
def test_every_key_has_a_sentence_and_every_number_a_unit(key: Key) -> None:
    assert key.sentence
    assert "|" not in key.sentence
    assert bool(key.unit) == key.allowed.startswith("number"), "a unit belongs to a number"


# What holds the values of a table where they are used.
HOLDERS = {
    "": "config", "admission": "limits", "daemon": "daemon", "limits": "limits|self", "nudges": "rules",
    "one_shot": "one_shot", "orchestration": "limits|orchestration",
}  # fmt: skip
ELSEWHERE = {
    "sandbox.image": "config.base_image",
    "sandbox.sockets": "config.sockets",
    "sandbox.runtime": "confinement.runtime",
    "sandbox.orphan_ttl": "config.orphan_ttl",
    "one_shot.per_parent": "limits.per_parent",
    "orchestration.orchestrator_enabled": "limits.enabled",
    "one_shot.total": "limits.total",
    "tree_budget.agents": r"extent\.agents",
    "tree_budget.wall": r"extent\.wall",
    "parent_budget.agents": r"extent\.agents",
    **{
        f"{table}.{bound}": rf"\bBound\.{bound.name}\b"
        for table in ("budget", "tree_budget", "parent_budget")
        for bound in Bound
    },
}


@pytest.mark.requirement("D10.4")
@pytest.mark.parametrize("key", [key for key in all_keys() if key.variable], ids=lambda key: key.name)
def test_every_plain_key_is_read_by_what_it_is_for(key: Key) -> None:
    sources = [path for path in (ROOT / "acp_runtime").rglob("*.py") if path.parent.name != "config"]
    used = re.compile(
        ELSEWHERE.get(key.name, rf"\b_?({HOLDERS.get(key.path[-2] if key.path[1:] else '')})\.{key.path[-1]}\b")
    )
    assert any(used.search(path.read_text(encoding="utf-8")) for path in sources), f"nothing reads {key.name}"


def test_every_limit_of_a_subagent_can_be_set() -> None:
    named = {key.path[1] for key in all_keys() if key.path[0] == "limits"}
    assert named == {field.name for field in fields(Limits)}


def test_every_plain_key_has_a_variable_of_its_own() -> None:
    variables = [key.variable for key in all_keys() if key.variable]
    assert len(variables) == len(set(variables))
    assert all(re.fullmatch(r"SUBAGENTS_[A-Z_]+", name) for name in variables)
    assert "SUBAGENTS_LIMITS_TASK" in variables


def test_the_example_for_a_new_file_changes_nothing_and_every_line_of_it_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(example())
    environ = {"HOME": str(tmp_path)}
    as_it_is = load(file, environ)
    assert (as_it_is.limits, as_it_is.origins) == (load(None, environ).limits, {})
    file.write_text(re.sub(r"^#(?=\S)", "", example(), flags=re.MULTILINE))
    used = load(file, environ)
    assert (used.limits, used.admission, used.daemon) == (as_it_is.limits, as_it_is.admission, as_it_is.daemon)
    named = {key.name for key in all_keys() if key.variable and key.default}
    assert named <= set(used.origins), "a key is missing in the example"
    assert tomllib.loads(example()) == {}
    assert used.models["opencode"].key == "env:MODEL_KEY"


def test_what_is_in_force_is_shown_so_that_a_file_could_say_it(tmp_path: Path) -> None:
    values = load(None, {"HOME": str(tmp_path)}).values
    shown = "\n".join(in_force(name, value) for name, value in values.items())
    (tmp_path / "config.toml").write_text(shown)
    assert load(tmp_path / "config.toml", {"HOME": str(tmp_path)}).values == values
    assert "# on_nudge is not set" in shown
