"""Every outcome of a run has its exit code, and a sentence on standard error."""

import shutil

import pytest

from tests.e2e.stage import Stage, git


def test_a_task_that_is_done_hands_its_patch_out_and_ends_with_0(stage: Stage):
    done = stage.run("[[write:new.txt|made here]][[say:I am done.]]")
    assert done.code == 0, done.err
    assert not (stage.repository / "new.txt").exists(), "the agent worked on the folder itself"
    git(stage.repository, "apply", "-", stdin=done.out)
    assert (stage.repository / "new.txt").read_text() == "made here"
    assert stage.patches == []


@pytest.mark.parametrize(
    ("code", "script", "options", "words"),
    [
        (1, "[[error:-32603|the model said no]]", (), "failed: the agent answered session/prompt with an error"),
        (1, "[[say:half]][[stop:max_tokens]]", (), "token limit"),
        (1, "[[say:ok]]", ("--check", "echo broken; exit 9"), "broken\nthe check exited with 9"),
        (1, "[[say:ok]]", ("--check", "mkfifo f; cat f", "--check-timeout", "0.3"), "had not ended after 0.3 s"),
        (0, "[[write:made|1]]", ("--check", "test -f made && test -f greeting.txt"), "completed"),
        (3, "[[stop:end_turn]]", (), "completed (empty): no text"),
        (3, "[[failtool:build]][[say:ok]]", (), "completed (suspect): all 1 tool call(s) failed"),
        (0, "[[stop:end_turn]]", ("--allow-empty",), "completed (empty)"),
        (0, "[[failtool:build]]", ("--allow-empty",), "completed (suspect)"),
        (1, "[[error:1|no]]", ("--allow-empty",), "failed"),
        (4, "[[stop:refusal]]", (), "refused: the agent refused the task"),
        (5, "[[ask:reject_once]]", (), "nobody is here to answer: ask reject_once"),
        (5, "[[ask:allow_once]]", ("--permissions", "deny"), "nobody is here to answer"),
        (0, "[[ask:allow_once]]", ("--permissions", "allow"), "the agent asks: ask allow_once"),
        (7, "[[write:half.txt|half]][[kill]]", (), "the outcome is unknown"),
        (7, "[[exit:0]]", (), "the agent exited with code 0; the outcome is unknown"),
        (124, "[[hang-politely]]", ("--timeout", "0.3"), "timed out: the task reached its deadline of 0.3 s"),
    ],
)
def test_an_outcome_has_its_exit_code(stage: Stage, code: int, script: str, options: tuple[str, ...], words: str):
    done = stage.run(*options, script)
    assert (done.code, words in done.err) == (code, True), done.err


@pytest.mark.parametrize("script", ["[[write:half.txt|half]][[kill]]", "[[write:half.txt|half]][[error:1|no]]"])
def test_work_that_was_begun_is_handed_out_also_when_the_task_is_not_done(stage: Stage, script: str):
    assert b"+half" in stage.run(script).out


@pytest.mark.parametrize(
    ("code", "flags", "limits", "words"),
    [
        (5, ("--auth", "api-key"), "", "the agent wants a login first (it offers: api-key)"),
        (1, ("--exit-at-start", "3"), "", "exited with code 3; it wrote: exits as told"),
        (1, ("--protocol-version", "7"), "", "version 7 of ACP"),
        (1, ("--session-error",), "", "answered session/new with an error"),
        (124, ("--never-initialize",), "initialize = 0.3", "did not get past initialize within 0.3 s"),
        (124, ("--slow-start", "/nonexistent/file"), "initialize = 0.3", "did not get past initialize"),
    ],
)
def test_a_start_that_fails_has_its_exit_code(stage: Stage, code: int, flags: tuple[str, ...], limits: str, words: str):
    stage.kind("scripted", *flags)
    stage.write_config(f"[limits]\n{limits}")
    done = stage.run("anything")
    assert (done.code, words in done.err) == (code, True), done.err
    assert done.out == b""


def test_a_program_that_is_not_there_is_told_by_name(stage: Stage):
    stage.kinds["scripted"] = '[agents.scripted]\nargv = ["no-such-agent", "acp"]\n'
    stage.write_config()
    done = stage.run("anything")
    assert done.code == 1
    assert "'no-such-agent' could not be executed: No such file or directory" in done.err


def test_an_agent_that_ignores_the_end_of_its_task_is_ended(stage: Stage):
    stage.kind("scripted", "--ignore-eof", "--ignore-term")
    stage.write_config("[limits]\ncancel_grace = 0.2")
    done = stage.run("--timeout", "0.3", "[[hang]]")
    assert done.code == 124, done.err
    assert "the agent did not answer the cancel within 0.2 s" in done.err


def test_work_that_cannot_be_taken_out_is_no_success_and_stays(stage: Stage):
    done = stage.run('[[run:rm -rf "$PWD"]][[say:done]]')
    assert done.code == 1
    (kept,) = stage.runs.iterdir()
    assert f"what there is of it is in the folder {kept}" in done.err
    assert list(kept.glob("local/*/base")), "what was brought in is gone"
    shutil.rmtree(kept)


def test_two_runs_at_once_on_one_folder_both_work(stage: Stage):
    fifo = stage.root / "both"
    tasks = [f"[[run:true]][[wait:{fifo}]][[write:{name}|1]]" for name in ("one", "two")]
    first, second = [stage.start(task).until("✓ execute") for task in tasks]
    fifo.touch()
    done = [first.end(), second.end()]
    assert [each.code for each in done] == [0, 0]
    for each in done:
        git(stage.repository, "apply", "-", stdin=each.out)
    assert {"one", "two"} < {path.name for path in stage.repository.iterdir()}
