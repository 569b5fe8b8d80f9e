"""A run that is killed loses nothing: the next one saves its work and removes what it left."""

import signal

import pytest

from tests.e2e.stage import Stage, git, on_engine

pytestmark = pytest.mark.docker


def test_the_next_run_saves_the_work_of_a_killed_one_and_removes_its_container(engine_stage: Stage):
    killed = engine_stage.start("[[write:half.txt|half]][[hang]]", local=False).until("✓ edit")
    killed.signal(signal.SIGKILL)
    assert killed.end().code == -signal.SIGKILL
    assert len(list(engine_stage.runs.iterdir())) == 1
    done = engine_stage.run("[[say:next]]", "--output", "text", local=False)
    assert (done.code, "next" in done.out.decode()) == (0, True), done.err
    assert "an earlier run was killed" in done.err
    assert on_engine(engine_stage.pids) == []
    [patch] = engine_stage.patches
    assert str(patch) in done.err
    git(engine_stage.repository, "apply", str(patch))
    assert (engine_stage.repository / "half.txt").read_text() == "half"


def test_a_run_that_lives_is_left_alone(engine_stage: Stage):
    living = engine_stage.start("[[write:half.txt|half]][[hang-politely]]", local=False).until("✓ edit")
    assert engine_stage.run("[[say:beside]]", local=False).code == 0
    assert living.process.poll() is None
    living.signal(signal.SIGINT)
    assert living.end().code == 130
