"""The checker of the storm is checked: each invariant is broken by hand, and seen; a case without a fault passes."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.faults import checker
from tests.faults.made_cases import ONE, MadeCase, carry_out, good_case
from tests.faults.spoils import (
    SPOILS,
    drop,
    ended_beside,
    forget,
    lost_end,
    lost_for_long,
    put,
    second_start,
    slain_twice,
    told_anew,
    told_of_itself,
)
from tests.faults.spoilt_trees import TREE_SPOILS, called_off, tree_case
from tests.faults.storm.points import POINTS
from tests.faults.storm.victims import FAULTS

ROOT = Path(__file__).parents[2]
CONTROLS = tomllib.loads((ROOT / "tests/faults/storm/controls.toml").read_text(encoding="utf-8"))


def found(made: MadeCase, folder: Path) -> dict[str, list[str]]:
    verdict = checker.judge(made.write(folder / "case"), held=True)
    return {name: wrong for name, wrong in verdict["found"].items() if wrong}


def test_a_case_in_which_all_is_well_passes(tmp_path: Path) -> None:
    assert found(good_case(), tmp_path) == {}


@pytest.mark.parametrize("name", SPOILS)
def test_a_broken_invariant_is_found(name: str, tmp_path: Path) -> None:
    invariant, spoil = SPOILS[name]
    made = good_case()
    spoil(made)
    assert invariant in found(made, tmp_path)


def test_a_case_with_a_tree_in_which_all_is_well_passes(tmp_path: Path) -> None:
    assert found(tree_case(), tmp_path) == {}


@pytest.mark.requirement("D08.11")
@pytest.mark.parametrize("name", TREE_SPOILS)
def test_a_broken_promise_of_trees_is_found(name: str, tmp_path: Path) -> None:
    invariant, spoil = TREE_SPOILS[name]
    made = tree_case()
    spoil(made)
    assert invariant in found(made, tmp_path)


def test_a_task_that_is_called_off_with_who_leads_may_have_been_done(tmp_path: Path) -> None:
    made = tree_case()
    called_off(made)
    assert found(made, tmp_path) == {}


def test_a_log_of_which_nothing_could_be_made_is_found(tmp_path: Path) -> None:
    case = good_case().write(tmp_path / "case")
    (case / "rebuilt.db").unlink()
    assert checker.judge(case, held=True)["found"]["projections"]


def test_every_invariant_is_broken_once() -> None:
    broken = {invariant for invariant, _ in (SPOILS | TREE_SPOILS).values()}
    assert broken == set(checker.INVARIANTS) == set(checker.CHECKS)


def test_what_was_cut_off_by_a_death_is_well(tmp_path: Path) -> None:
    made = good_case()
    cut = made.find("task_ended", 1)
    at = made.events.index(cut)
    cut["data"]["outcome"] = "interrupted"
    del made.events[at - 1]
    for entry in [*made.parents["left"], *(each["data"] for each in made.events)]:
        if "text" in entry:
            entry["text"] = entry["text"].replace("t2 completed", "t2 interrupted")
    made.agents[ONE] = [each for each in made.agents[ONE] if each["word"] != "done" or each["label"] != "b"]
    made.faults.append({"victim": "container-kill", "subagent": ONE, "lethal": True})
    assert found(made, tmp_path) == {}


def test_an_agent_that_asked_its_model_again_may_tell_its_answer_again(tmp_path: Path) -> None:
    made = good_case()
    told_anew(made, 1)
    assert found(made, tmp_path) == {}


@pytest.mark.parametrize("end", ["task_ended", "subagent_stopped"])
def test_a_question_goes_with_its_task_and_with_its_subagent(end: str, tmp_path: Path) -> None:
    made = good_case()
    drop(made, "request_closed")
    made.agents[ONE] = [each for each in made.agents[ONE] if each["word"] != "heard"]
    made.parents["left"] = [each for each in made.parents["left"] if each.get("token") != "T2"]
    if end == "subagent_stopped":
        made.find("request_opened")["data"].update(task_id="")
    assert found(made, tmp_path) == {}


def test_losses_and_returns_that_were_are_told_well(tmp_path: Path) -> None:
    made = good_case()
    lost_for_long(made)
    put(made, "stop_requested", "channel_lost", "loss_confirmed", "channel_recovered")
    lost_end(made)
    told_of_itself("is out of reach", "n-6")(made)
    told_of_itself("recovered", "n-7", "n-8")(made)
    told_of_itself("failed", "n-9")(made)
    assert found(made, tmp_path) == {}


@pytest.mark.parametrize(("by", "words"), [("agent", "stopped"), ("parent", "was given up")])
def test_an_end_beside_a_result_is_told_well(by: str, words: str, tmp_path: Path) -> None:
    made = good_case()
    ended_beside(made, by)
    told_of_itself(words, "n-9")(made)
    assert found(made, tmp_path) == {}


def test_an_end_that_its_task_tells_is_not_asked_for_again(tmp_path: Path) -> None:
    made = good_case()
    ended_beside(made, "operator")
    assert found(made, tmp_path) == {}


@pytest.mark.parametrize("victims", [("agent-kill", "container-kill"), ("container-kill", "relay-kill", "agent-kill")])
def test_a_holder_that_may_have_died_with_its_agent_may_cost_the_answer(victims: tuple[str], tmp_path: Path) -> None:
    made = good_case()
    slain_twice(made, *victims)
    assert found(made, tmp_path) == {}


def test_a_fact_that_waits_is_not_lost(tmp_path: Path) -> None:
    made = good_case()
    drop(made, "turn_committed", 1)
    forget(made, "acked", token="T4")
    made.waiting.append((ONE, "task", f"{ONE}.t2", "n-3"))
    assert found(made, tmp_path) == {}


def test_a_commit_whose_answer_the_parent_never_got_counts(tmp_path: Path) -> None:
    made = good_case()
    forget(made, "acked", token="T4")
    assert found(made, tmp_path) == {}


def test_without_a_holder_nothing_is_asked_of_agents_that_were_not_harmed(tmp_path: Path) -> None:
    made = good_case()
    second_start(made)
    assert checker.judge(made.write(tmp_path / "case"), held=False)["good"]


def test_the_verdict_is_a_table_a_line_of_json_and_an_exit_code(tmp_path: Path) -> None:
    made = good_case()
    carry_out(made, "t1", "a")
    case = made.write(tmp_path / "case")
    argv = [sys.executable, "-m", "tests.faults.checker", str(case)]
    table = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert table.returncode == 1, table.stderr
    assert "every task ends exactly once" in table.stdout
    told = subprocess.run([*argv, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert json.loads(told.stdout)["found"]["ends"]


@pytest.mark.parametrize("name", ["checker", "case", "edges", "projections", "telling", "trees"])
def test_the_checker_needs_nothing_of_what_it_judges(name: str) -> None:
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    froms = {each.module.split(".")[0] for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and each.module}
    plain = {
        alias.name.split(".")[0] for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names
    }
    assert froms | plain <= {*sys.stdlib_module_names, "tests"}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_storm_that_must_be_lost_takes_a_guard_away_that_is_there(name: str) -> None:
    control = CONTROLS[name]
    assert (ROOT / control["file"]).read_text(encoding="utf-8").count(control["change"]) == 1, "write it anew"
    victims, points = zip(*(each.partition("@")[::2] for each in control["faults"]), strict=True)
    assert set(victims) <= set(FAULTS)
    assert set(points) - {""} <= set(POINTS)
    assert set(control["broken"]) <= set(checker.INVARIANTS)
