"""Runs in containers: the outcomes and signals that concern the container, and that nothing is left on the engine."""

import signal

import pytest

from tests import engine
from tests.e2e.stage import Stage, containers_of, git

pytestmark = pytest.mark.docker


def test_a_task_that_is_done_hands_its_patch_out_and_is_checked(engine_stage: Stage):
    task = "[[run:cat greeting.txt > copy.txt]][[say:I am done.]]"
    done = engine_stage.run(task, "--check", "cat copy.txt; test $(id -u) = 10001", "--output", "json", local=False)
    result = done.lines[-1]
    assert (done.code, result["message"], result["check"]) == (0, "I am done.", {"exit_code": 0, "output": "hello\n"})
    git(engine_stage.repository, "apply", "-", stdin=result["patch"].encode())
    assert (engine_stage.repository / "copy.txt").read_text() == "hello\n"


def test_two_runs_at_once_on_one_folder_both_work(engine_stage: Stage):
    tasks = [f"[[run:mkfifo go]][[run:cat go; rm go]][[write:{name}|1]]" for name in ("one", "two")]
    both = [engine_stage.start(task, local=False) for task in tasks]
    for running in both:
        running.until("✓ execute: mkfifo go")
    agents = containers_of(engine_stage.pids, "agent")
    assert len(agents) == 2
    for agent in agents:
        engine.execute(agent, "sh", "-c", "echo > go", user="10001:10001", workdir="/workspace")
    for done in [running.end() for running in both]:
        assert done.code == 0, done.err
        git(engine_stage.repository, "apply", "-", stdin=done.out)
    assert {"one", "two"} < {path.name for path in engine_stage.repository.iterdir()}


@pytest.mark.parametrize("end", ["[[kill]]", "removed"])
def test_an_agent_that_is_lost_leaves_an_unknown_outcome_and_its_work(engine_stage: Stage, end: str):
    script = end if end.startswith("[") else "[[hang-politely]]"
    running = engine_stage.start(f"[[write:half.txt|half]][[failtool:begun]]{script}", local=False)
    if end == "removed":
        running.until("✗ other: begun")
        engine.remove_containers(containers_of(engine_stage.pids, "agent"))
    done = running.end()
    assert (done.code, "the outcome is unknown" in done.err) == (7, True), done.err
    assert b"+half" in done.out


@pytest.mark.parametrize(
    ("numbers", "code"),
    [((signal.SIGINT,), 130), ((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)],
)
def test_a_signal_ends_the_task_and_the_container(engine_stage: Stage, numbers: tuple[signal.Signals, ...], code: int):
    script = "[[hang-politely]]" if numbers == (signal.SIGINT,) else "[[hang]]"
    running = engine_stage.start(f"[[write:half.txt|half]]{script}", local=False).until("✓ edit")
    for number in numbers:
        running.signal(number)
        if number is signal.SIGINT:
            running.until("cancelling")
    done = running.end()
    assert done.code == code, done.err
    assert b"+half" in done.out


@pytest.mark.parametrize("moment", ["creating the container", "taking the workspace in", "starting the agent"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_start_at_every_step(engine_stage: Stage, moment: str, number: signal.Signals, code: int):
    done = engine_stage.start("[[say:too late]]", local=False).until(moment).signal(number).end()
    assert done.code == code, done.err
    assert done.out == b""


def test_a_check_in_a_container_is_ended_by_a_signal(engine_stage: Stage):
    running = engine_stage.start("[[write:new.txt|made]]", "--check", "mkfifo go; cat go", local=False)
    running.until("checking:").signal(signal.SIGINT)
    done = running.end()
    assert done.code == 130, done.err
    assert b"+made" in done.out


@pytest.mark.parametrize("option", ["--image", "[sandbox]"])
def test_an_image_that_is_missing_is_told_with_its_name(engine_stage: Stage, option: str):
    name = "127.0.0.1:1/acp-subagents-test/nowhere:1"
    if option == "[sandbox]":
        engine_stage.write_config(f'[sandbox]\nimage = "{name}"')
        done = engine_stage.run("x", local=False)
    else:
        done = engine_stage.run("x", option, name, local=False)
    assert done.code == 69
    assert f"The image {name} is not on the engine and could not be pulled" in done.err


def test_a_program_that_is_not_in_the_image_is_told_by_name(engine_stage: Stage):
    engine_stage.kinds["ghost"] = '[agents.ghost]\nargv = ["no-such-agent"]\n'
    image = engine_stage.config.read_text().partition("image = ")[2].splitlines()[0]
    engine_stage.write_config(f"[sandbox]\nimage = {image}")
    done = engine_stage.run("x", local=False, agent="ghost")
    assert done.code == 1
    assert "no-such-agent" in done.err


def test_a_folder_whose_path_is_too_long_for_sockets_is_no_hindrance(engine_stage: Stage):
    deep = engine_stage.root / ("d" * 100)
    deep.mkdir()
    done = engine_stage.run("[[say:done]]", local=False, env={"XDG_RUNTIME_DIR": str(deep)})
    assert done.code == 0, done.err
    assert list((deep / "acp-subagents").iterdir()) == []
