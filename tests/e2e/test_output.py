"""What a run puts out, where, and that a place that takes nothing costs no work."""

import base64
import os
import signal
import subprocess

import pytest

from tests.e2e.stage import Stage, git

TASK = "[[write:new.txt|made]][[say:I am done.]]"


def applied(stage: Stage, patch: bytes) -> str:
    git(stage.repository, "apply", "-", stdin=patch)
    return (stage.repository / "new.txt").read_text()


def test_json_is_one_object_a_line_and_the_last_is_the_result(stage: Stage):
    done = stage.run(TASK, "--output", "json", "--check", "cat new.txt; exit 4")
    *events, result = done.lines
    assert {each["type"] for each in events} == {"event"}
    assert [each["seq"] for each in events] == sorted(each["seq"] for each in events)
    assert {"subagent_requested", "session_opened", "task_ended", "stop_requested"} <= {each["kind"] for each in events}
    assert (result["type"], result["state"], result["verdict"]) == ("result", "completed", "full")
    assert (result["message"], result["files_changed"]) == ("I am done.", 1)
    assert result["check"] == {"exit_code": 4, "output": "made"}
    assert result["exit_code"] == done.code == 1
    assert applied(stage, result["patch"].encode()) == "made"


def test_json_of_a_run_that_waits_for_an_answer_names_the_question(stage: Stage):
    result = stage.run("[[ask:reject_once]]", "--output", "json").lines[-1]
    assert (result["state"], result["question"], result["exit_code"]) == ("waiting", "ask reject_once", 5)


def test_a_patch_in_another_encoding_comes_out_byte_for_byte(stage: Stage):
    task = r"[[run:printf 'caf\351\n' > new.txt]]"
    result = stage.run(task, "--output", "json").lines[-1]
    assert result["patch"] is None
    assert base64.b64decode(result["patch_base64"]) == stage.run(task).out
    git(stage.repository, "apply", "-", stdin=stage.run(task).out)
    assert (stage.repository / "new.txt").read_bytes() == b"caf\xe9\n"


def test_text_is_for_a_person_also_in_a_pipe(stage: Stage):
    done = stage.run(TASK, "--output", "text", "--check", "echo fine")
    text = done.out.decode()
    assert text.startswith("I am done.\n\n")
    assert "the check exited with 0\nfine\n" in text
    assert f"\n\napply it with: git -C {stage.repository} apply {stage.patches[0]}\n" in text


def test_a_task_that_changed_nothing_gives_an_empty_patch(stage: Stage):
    done = stage.run("[[say:nothing to do]]")
    assert (done.code, done.out) == (0, b"")


def test_what_stays_behind_is_said(stage: Stage):
    (stage.repository / ".gitignore").write_text("*.log\n")
    done = stage.run("[[write:a.log|x]][[write:new.txt|made]]")
    assert "a.log" in done.err, done.err
    assert b"a.log" not in done.out


def test_a_file_takes_the_patch_and_standard_output_stays_empty(stage: Stage):
    target = stage.root / "fix.patch"
    target.write_text("an older patch that was longer\n" * 100)
    done = stage.run(TASK, "--out", str(target))
    assert (done.code, done.out) == (0, b"")
    assert f"apply it with: git -C {stage.repository} apply {target}" in done.err
    assert applied(stage, target.read_bytes()) == "made"


def test_a_file_takes_the_lines_too(stage: Stage):
    target = stage.root / "run.jsonl"
    assert stage.run(TASK, "--out", str(target), "--output", "json").out == b""
    assert '"type": "result"' in target.read_text().splitlines()[-1]


@pytest.mark.parametrize("target", ["missing/fix.patch", "home", "", "fix\x1b[31m.patch", "greeting.txt/x"])
def test_a_file_that_cannot_be_written_is_told_before_anything_starts(stage: Stage, target: str):
    done = stage.run(TASK, "--out", str(stage.root / target) if target else "")
    assert done.code == 2
    assert done.err.startswith("subagents run: --out")
    assert "\x1b" not in done.err
    assert not stage.runs.exists()


def test_a_run_that_does_not_begin_leaves_the_file_as_it_was(stage: Stage):
    old, new = stage.root / "old.patch", stage.root / "new.patch"
    old.write_text("precious")
    for target in (old, new):
        assert stage.run(TASK, "--out", str(target), workspace=str(stage.root / "nowhere")).code == 2
    assert old.read_text() == "precious"
    assert not new.exists()


@pytest.mark.parametrize("form", ["patch", "text", "json"])
def test_a_reader_that_goes_away_costs_no_work(stage: Stage, form: str):
    read, write = os.pipe()
    os.close(read)
    running = stage.popen(stage.arguments(TASK, "--output", form), stdout=write)
    os.close(write)
    done = running.end()
    assert done.code == 1
    assert "the output could not be written: Broken pipe" in done.err
    command = done.err.rpartition("the work is kept; apply it with: ")[2]
    subprocess.run(["sh", "-c", command], check=True)
    assert (stage.repository / "new.txt").read_text() == "made"


def test_a_full_disk_costs_no_work(stage: Stage):
    done = stage.run(TASK, "--out", "/dev/full")
    assert done.code == 1
    assert "the output could not be written: No space left on device" in done.err
    assert applied(stage, stage.patches[0].read_bytes()) == "made"


@pytest.mark.parametrize(("numbers", "code"), [((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)])
def test_a_reader_that_stands_still_holds_nobody_up(stage: Stage, numbers: tuple[signal.Signals, ...], code: int):
    """The output of a run that nobody reads fills its pipe; the run itself goes on and can be ended."""
    done_file = stage.root / "task-done"
    os.mkfifo(done_file)
    read, write = os.pipe()
    script = f"[[updates:30000]][[write:new.txt|made]][[run:echo > {done_file}]][[hang-politely]]"
    running = stage.popen(stage.arguments(script, "--output", "json"), stdout=write)
    os.close(write)
    done_file.read_text()  # the agent has said all of it
    for number in numbers:
        running.signal(number)
        if number is signal.SIGINT:
            running.until("cancelling")
    done = running.end()
    os.close(read)
    assert done.code == code, done.err
    assert "the output could not be written: nobody reads it" in done.err
    assert applied(stage, stage.patches[0].read_bytes()) == "made"


def test_standard_error_that_nobody_reads_any_more_costs_nothing(stage: Stage):
    read, write = os.pipe()
    os.close(read)
    running = stage.popen(stage.arguments(TASK), stderr=write)
    os.close(write)
    done = running.end()
    assert done.code == 0
    assert applied(stage, done.out) == "made"


def test_closed_outputs_are_borne(stage: Stage):
    target = stage.root / "fix.patch"
    closed = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-']
    assert stage.popen([*closed, *stage.arguments(TASK, "--out", str(target))]).end().code == 0
    assert applied(stage, target.read_bytes()) == "made"
    assert stage.popen([*closed, *stage.arguments(TASK)]).end().code == 2


def test_help_and_version_go_to_standard_output_and_bear_its_end(stage: Stage):
    version = stage.popen([str(stage.command), "--version"]).end()
    assert (version.code, version.out.split()[0], version.err) == (0, b"subagents", "")
    read, write = os.pipe()
    os.close(read)
    helped = stage.popen([str(stage.command), "run", "--help"], stdout=write)
    os.close(write)
    assert helped.end().err == ""
