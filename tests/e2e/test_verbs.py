"""The verbs of the daemon as a person and a script use them: one daemon for all of them, agents as local processes."""

import json
import os
import pty
import select
import shutil
import subprocess
from collections.abc import Iterator
from subprocess import CompletedProcess

import pytest

from acp_runtime.cli.codes import Exit
from acp_runtime.core.turns import OutboxRules
from tests.e2e.daemon_site import BOUND, MODULE, DaemonSite, daemon_site

FOLDER = "--workspace"
OFFERS = OutboxRules().offers


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("v", numbered=True)) as site:
        site.config.write_text(f"{site.config.read_text()}\n[presets.weak]\nunsafe_seccomp = true\n")
        site.serve()
        yield site


def ask(site: DaemonSite, *argv: str, code: Exit = Exit.DONE) -> CompletedProcess[str]:
    done = site.run(*argv)
    assert done.returncode == code, (argv, done.stdout, done.stderr)
    return done


def spawned(site: DaemonSite, task: str, *more: str) -> str:
    return ask(site, "spawn", "--agent", "scripted", FOLDER, str(site.workspace), "-q", *more, task).stdout.strip()


@pytest.fixture
def idle(site: DaemonSite) -> Iterator[str]:
    """A subagent that has done its task; it is removed afterwards."""
    subagent = spawned(
        site, "[[write:new.txt|x]][[say:hello from the agent]]", "--purpose", "greet", "--parent", "host"
    )
    ask(site, "wait", subagent)
    yield subagent
    removed(site, subagent)


def removed(site: DaemonSite, subagent: str) -> None:
    """Have the parent end it, so that there is nothing to tell it, and remove it."""
    ask(site, "turn", "--commit", str(turn(site)["token"]))
    ask(site, "rm", "--force", "--parent", "host", subagent)


def turn(site: DaemonSite) -> dict[str, object]:
    found: dict[str, object] = json.loads(ask(site, "turn", "--parent", "host", "--json").stdout)
    return found


def test_ps_lists_for_people_and_for_programs(site: DaemonSite, idle: str) -> None:
    heads, row = ask(site, "ps").stdout.splitlines()
    assert heads.split()[:4] == ["NAME", "ID", "STATUS", "AGENT"]
    assert (idle in row, "idle" in row, row.rstrip().endswith("greet")) == (True, True, True)
    assert ask(site, "ps", "-q").stdout == f"{idle}\n"
    (view,) = [json.loads(line) for line in ask(site, "ps", "--json").stdout.splitlines()]
    assert (view["id"], view["status"], view["purpose"]) == (idle, "idle", "greet")
    assert ask(site, "ps", "--parent", "somebody else").stdout == ""


def test_one_is_found_by_the_beginning_of_its_id_and_by_its_name(site: DaemonSite, idle: str) -> None:
    name = json.loads(ask(site, "show", idle, "--json").stdout)["name"]
    for wanted in (idle[:8], name):
        shown = ask(site, "show", wanted).stdout
        assert shown.startswith(name)
        assert "it said: hello from the agent" in shown
        assert shown.endswith(f"; to end it: subagents stop {idle}; to go on then: subagents resume {idle} TEXT\n")


@pytest.mark.requirement("D10.5")
@pytest.mark.parametrize("name", ["", " ", "operator"])
def test_a_parent_without_a_name_of_its_own_is_not_taken_for_the_operator(site: DaemonSite, name: str) -> None:
    assert "name" in ask(site, "ps", "--parent", name, code=Exit.USAGE).stderr


def test_what_nobody_has_is_told_in_one_sentence(site: DaemonSite, idle: str) -> None:
    assert "Unknown background subagent: nobody" in ask(site, "show", "nobody", code=Exit.FAILED).stderr
    other = spawned(site, "[[say:x]]", "--parent", "host")
    said = ask(site, "show", "bg-", code=Exit.USAGE).stderr
    assert idle in said or "bg-" in said
    foreign = ask(site, "show", other, "--parent", "somebody else", code=Exit.FAILED).stderr
    assert foreign == f"subagents show: Unknown background subagent: {other}\n"
    ask(site, "wait", other)
    removed(site, other)


def test_a_message_is_queued_and_waited_for(site: DaemonSite, idle: str) -> None:
    assert "works on it now" in ask(site, "send", idle, "[[say:second]]").stderr
    assert "task 2 completed" in ask(site, "wait", idle).stderr
    assert "second" in ask(site, "logs", idle).stdout
    assert "is required" in ask(site, "send", idle, "  ", code=Exit.USAGE).stderr


def test_a_poll_of_the_parent_marks_as_read_and_one_of_the_operator_does_not(site: DaemonSite, idle: str) -> None:
    assert "hello from the agent" in ask(site, "poll", idle).stdout
    assert "hello from the agent" in ask(site, "poll", idle, "--parent", "host").stdout
    assert ask(site, "poll", idle, "--parent", "host").stdout == ""
    rows = ask(site, "poll", idle, "--parent", "host", "--since", "0", "--json").stdout.splitlines()
    assert [json.loads(row)["text"] for row in rows].count("hello from the agent") == 1


@pytest.mark.parametrize(
    ("task", "code", "words"),
    [
        ("[[think:nothing]]", Exit.EMPTY, "task 1 completed (empty): "),
        ("[[stop:refusal]]", Exit.REFUSED, "task 1 refused: "),
        ("[[error:-32603|no]]", Exit.FAILED, "task 1 failed: the agent answered session/prompt with an error"),
    ],
)
def test_the_exit_code_of_a_wait_tells_the_outcome_and_its_sentence_why(
    site: DaemonSite, task: str, code: Exit, words: str
) -> None:
    subagent = spawned(site, task)
    assert words in ask(site, "wait", subagent, code=code).stderr
    ask(site, "stop", subagent)


def test_the_exit_code_of_a_wait_for_the_first_is_that_of_the_one_that_is_done(site: DaemonSite) -> None:
    busy, failed = spawned(site, "[[hang-politely]]"), spawned(site, "[[stop:refusal]]")
    ask(site, "wait", "--first", busy, failed, code=Exit.REFUSED)
    ask(site, "stop", busy, failed)


def test_a_wait_that_is_too_short_says_so(site: DaemonSite) -> None:
    subagent = spawned(site, "[[hang-politely]]")
    ask(site, "wait", subagent, "--timeout", "0.1", code=Exit.TIMED_OUT)
    assert "the timeout is nan" in ask(site, "wait", subagent, "--timeout", "nan", code=Exit.USAGE).stderr
    assert "being cancelled" in ask(site, "stop", "--task", subagent).stderr
    ask(site, "wait", subagent, code=Exit.FAILED)
    ask(site, "stop", subagent)


def test_a_question_is_shown_with_its_options_and_answered(site: DaemonSite) -> None:
    subagent = spawned(site, "[[ask:allow_once,reject_once]]", "--permissions", "ask", "--parent", "host")
    told = ask(site, "wait", subagent, code=Exit.NEEDS_ANSWER).stderr
    assert "waiting, task 1 running, and asks:" in told
    assert f"subagents answer {subagent} opt-1" in told
    assert "waiting (asks)" in ask(site, "ps").stdout
    assert f"subagents answer {subagent} opt-1" in ask(site, "show", subagent).stdout
    assert "needs permission" in str(turn(site)["text"]) or "asks" in str(turn(site)["text"])
    assert "was not offered" in ask(site, "answer", subagent, "maybe", code=Exit.FAILED).stderr
    assert "names no option; offered: " in ask(site, "answer", subagent, code=Exit.FAILED).stderr
    assert json.loads(ask(site, "answer", "--json", subagent, "opt-0").stdout)["id"] == subagent
    ask(site, "wait", subagent)
    assert "chose opt-0" in ask(site, "logs", subagent).stdout
    assert "asks nothing" in ask(site, "answer", subagent, "opt-0", code=Exit.FAILED).stderr
    ask(site, "stop", subagent)


def test_a_stopped_one_is_resumed_and_removed(site: DaemonSite) -> None:
    subagent = spawned(site, "[[say:one]]", "--parent", "host")
    ask(site, "wait", subagent)
    assert "stopped" in ask(site, "stop", subagent).stderr
    assert "no longer running" in ask(site, "send", subagent, "x", code=Exit.FAILED).stderr
    ask(site, "resume", subagent, "[[say:two]]")
    ask(site, "wait", subagent)
    ask(site, "stop", subagent, "--reason", "enough")
    ask(site, "turn", "--commit", str(turn(site)["token"]))
    ask(site, "rm", subagent)
    assert "Unknown" in ask(site, "show", subagent, code=Exit.FAILED).stderr


def test_a_turn_is_shown_until_it_is_acknowledged(site: DaemonSite, idle: str) -> None:
    first = ask(site, "turn", "--parent", "host", "--turn-id", "t1").stdout
    assert "hello from the agent" in first
    assert ask(site, "turn", "--parent", "host", "--turn-id", "t1").stdout == first
    again = turn(site)
    assert "hello from the agent" in str(again["text"]), "what was not acknowledged is told again"
    ask(site, "turn", "--commit", str(again["token"]))
    assert "hello from the agent" not in str(turn(site)["text"])
    states = [json.loads(line)["state"] for line in ask(site, "nudges", "--json").stdout.splitlines()]
    assert "committed" in states
    assert "name it with --parent" in ask(site, "turn", code=Exit.USAGE).stderr


def test_a_nudge_that_nobody_acknowledged_is_dead_and_can_be_told_after_all(site: DaemonSite) -> None:
    subagent = spawned(site, "[[say:unheard]]", "--purpose", "p", "--parent", "deaf")
    ask(site, "wait", subagent)
    for _ in range(OFFERS + 1):
        ask(site, "turn", "--parent", "deaf")
    (dead,) = [json.loads(line) for line in ask(site, "nudges", "--state", "dead", "--json").stdout.splitlines()]
    assert dead["id"] in ask(site, "nudges").stdout
    assert "unheard" not in ask(site, "turn", "--parent", "deaf").stdout
    ask(site, "nudges", "--revive", dead["id"])
    assert "unheard" in ask(site, "turn", "--parent", "deaf").stdout
    assert "only a dead one" in ask(site, "nudges", "--revive", dead["id"], code=Exit.FAILED).stderr
    ask(site, "stop", "--parent", "deaf", subagent)


@pytest.mark.requirement("D10.13")
def test_the_work_of_an_ended_one_comes_out_as_a_patch(site: DaemonSite) -> None:
    subagent = spawned(site, "[[write:new.txt|made]][[say:done]]")
    ask(site, "wait", subagent)
    early = ask(site, "work", subagent, code=Exit.FAILED)
    assert f"exports its work when it ends; to end it: subagents stop {subagent}" in early.stderr
    (stopped,) = ask(site, "stop", "--json", subagent).stdout.splitlines()
    assert json.loads(stopped)["id"] == subagent
    assert f"subagents work {subagent}" in ask(site, "show", subagent).stdout
    patch = ask(site, "work", subagent).stdout
    assert "+made" in patch
    assert by_hand(site, ["git", "-C", str(site.workspace), "apply", "--check"], patch).returncode == 0
    found = json.loads(ask(site, "work", "--json", subagent).stdout)
    assert (found["patch"], found["files"]) == (patch, 1)


@pytest.mark.requirement("D10.13")
def test_what_a_person_spawned_a_person_removes(site: DaemonSite) -> None:
    """What it would be told of it, it sees in the terminal."""
    subagent = spawned(site, "[[say:done]]")
    ask(site, "wait", subagent)
    assert json.loads(ask(site, "rm", "--force", "--json", subagent).stdout) == {"id": subagent, "removed": True}
    others = spawned(site, "[[say:done]]", "--parent", "host")
    ask(site, "wait", others)
    assert "has not acknowledged" in ask(site, "rm", "--force", others, code=Exit.FAILED).stderr
    assert ask(site, "work", others).stderr.endswith(" changed no files\n")
    removed(site, others)


@pytest.mark.requirement("D10.13")
@pytest.mark.parametrize(
    ("where", "said"),
    [
        (">/dev/full", "subagents: the output cannot be written: No space left on device\n"),
        (">&-", "subagents: standard output is closed\n"),
        ("| true", ""),
    ],
)
@pytest.mark.parametrize("verb", ["df --json", "config show", "--version", "completion bash"])
def test_an_output_that_cannot_be_written_is_told_in_one_sentence(
    site: DaemonSite, verb: str, where: str, said: str
) -> None:
    run = " ".join(MODULE)
    done = by_hand(site, ["bash", "-c", f"set -o pipefail; {run} {verb} {where}"])
    assert done.stderr == said
    assert done.returncode in ((0, 1) if where == "| true" else (1,))


@pytest.mark.parametrize("verb", ["logs --daemon", "logs --daemon --json"])
def test_a_reader_that_leaves_early_is_no_traceback(site: DaemonSite, verb: str) -> None:
    folder = site.root / "long" / "acp-subagents"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "daemon.log").write_text("a long line\n" * 100_000)
    run = f"XDG_STATE_HOME={folder.parent} {' '.join(MODULE)}"
    done = by_hand(site, ["bash", "-c", f"{run} {verb} | head -n 1; exit ${{PIPESTATUS[0]}}"])
    assert (len(done.stdout.splitlines()), done.stderr, done.returncode) == (1, "", Exit.FAILED)


def test_an_encoding_that_lacks_a_character_gets_it_escaped(site: DaemonSite) -> None:
    subagent = spawned(site, "[[say:x]]", "--purpose", "\u6f22")
    done = by_hand(site, ["env", "PYTHONIOENCODING=ascii", *MODULE, "ps"])
    assert (done.returncode, "\\u6f22" in done.stdout, done.stderr) == (0, True, "")
    ask(site, "wait", subagent)
    ask(site, "rm", "--force", subagent)


def test_words_are_searched_and_space_is_told(site: DaemonSite, idle: str) -> None:
    assert idle in ask(site, "search", "hello", "--json").stdout
    assert ask(site, "search", "nowhere-to-be-found").stdout == ""
    assert json.loads(ask(site, "df", "--json").stdout)["open_subagents"] >= 1
    assert ask(site, "usage", idle, "--by", "task", "--json").stdout == ""
    assert ask(site, "usage").stderr == "no calls of models\n"
    assert ask(site, "prune", "--older-than", "1", "--dry-run").stdout == ""


def test_a_name_of_many_kinds_of_characters_breaks_no_table(site: DaemonSite) -> None:
    purpose = "tab\there \x1b[31mred\x1b[0m \u202ereversed\u202c 漢字 end"
    subagent = spawned(site, "[[say:x]]", "--purpose", purpose)
    ask(site, "wait", subagent)
    said = ask(site, "ps").stdout
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert any("tab here red reversed 漢字 end" in line for line in said.splitlines())
    ask(site, "stop", subagent)


@pytest.mark.requirement("D10.9")
def test_the_configuration_is_found_checked_shown_and_begun(site: DaemonSite) -> None:
    assert ask(site, "config", "path").stdout.strip() == str(site.config)
    ask(site, "config", "check")
    assert f"limits.backoff = 0.05  # {site.config}:" in ask(site, "config", "show", "--origin").stdout
    fresh = site.root / "fresh" / "config.toml"
    ask(site, "config", "init", "--config", str(fresh))
    ask(site, "config", "check", "--config", str(fresh))
    text = fresh.read_text()
    assert "left alone" in ask(site, "config", "init", "--config", str(fresh), code=Exit.FAILED).stderr
    assert fresh.read_text() == text
    fresh.write_text("[limits]\ntask = -1\n")
    assert f"{fresh}:2: limits.task" in ask(site, "config", "check", "--config", str(fresh), code=Exit.USAGE).stderr


def test_the_daemons_own_log_is_at_hand(site: DaemonSite) -> None:
    assert "listens on" in ask(site, "logs", "--daemon").stdout
    assert "name a subagent" in ask(site, "logs", code=Exit.USAGE).stderr


@pytest.mark.requirement("D10.8")
def test_completion_knows_verbs_options_and_live_ids(site: DaemonSite, idle: str) -> None:
    assert ask(site, "__complete", "sp").stdout == "spawn\n"
    assert "--steer" in ask(site, "__complete", "send", "--").stdout.split()
    assert idle in ask(site, "__complete", "stop", "").stdout.split()
    assert ask(site, "__complete", "spawn", "--permissions", "").stdout.split() == ["allow", "deny", "ask"]
    assert ask(site, "__complete", "no-such-verb", "").stdout == ""


def by_hand(site: DaemonSite, words: list[str], given: str = "") -> CompletedProcess[str]:
    return subprocess.run(
        words, check=False, env=site.env, cwd=site.root, input=given, capture_output=True, text=True, timeout=BOUND
    )


@pytest.mark.requirement("D10.8")
def test_bash_takes_the_script_and_completes_with_it(site: DaemonSite, idle: str) -> None:
    script = site.root / "completion.bash"
    script.write_text(ask(site, "completion", "bash").stdout)
    run = " ".join(MODULE)
    lines = f"""
subagents() {{ {run} "$@"; }}
source {script}
COMP_WORDS=(subagents stop {idle[:6]}) COMP_CWORD=2
_subagents
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = by_hand(site, ["bash", "-c", lines])
    assert done.stdout.split() == [idle], done.stderr
    for shell in ("zsh", "fish"):
        text = ask(site, "completion", shell).stdout
        assert "__complete" in text
        if shutil.which(shell):
            subprocess.run([shell, "-n"], input=text, text=True, check=True, timeout=BOUND)


@pytest.mark.requirement("D10.7")
def test_what_a_script_sends_through_attach_is_done_and_shown(site: DaemonSite, idle: str) -> None:
    words = [*MODULE, "attach", idle]
    given = "[[say:typed by a script]]\n\n[[say:and a second one]]\n"
    done = by_hand(site, words, given)
    assert done.returncode == 0, done.stderr
    assert "hello from the agent" in done.stdout, "what it said last is where a person comes in"
    ask(site, "wait", idle)
    assert "typed by a script" in ask(site, "logs", idle).stdout
    assert "and a second one" in ask(site, "logs", idle).stdout


@pytest.mark.requirement("D10.7")
def test_a_person_types_cancels_and_leaves_and_the_agent_goes_on(site: DaemonSite, idle: str) -> None:
    person, terminal = pty.openpty()
    process = site.popen("setsid", "--ctty", *MODULE, "attach", idle, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = ""

    def until(words: str) -> None:
        nonlocal shown
        while words not in shown:
            assert select.select([person], [], [], BOUND)[0], f"{words!r} is never shown, but: {shown}"
            shown += os.read(person, 65_536).decode(errors="replace")

    try:
        until("hello from the agent")
        os.write(person, b"[[say:begun]][[hang-politely]]\n")
        until("begun\r\n")
        os.write(person, b"\x03")
        until("cancelling the running task")
        until("cancelled")
        os.write(person, b"\x04")
        assert process.wait(BOUND) == 0
    finally:
        os.close(person)
    view = json.loads(ask(site, "show", idle, "--json").stdout)
    assert (view["status"], view["tasks"][-1]["state"]) == ("idle", "cancelled")


@pytest.mark.requirement("D09.22")
def test_what_weakens_a_sandbox_is_shown_and_named_by_the_doctor(site: DaemonSite) -> None:
    subagent = spawned(site, "[[say:done]]", "--preset", "weak")
    assert "  unsafe            unsafe_seccomp\n" in ask(site, "show", subagent).stdout
    assert "warn preset         weak weakens its sandboxes: unsafe_seccomp\n" in site.run("doctor").stdout
    ask(site, "rm", "--force", subagent)


def test_the_doctor_says_what_is_there_and_leaves_secrets_out_of_its_report(site: DaemonSite) -> None:
    report = site.root / "report.txt"
    done = site.run("doctor", "--bundle", str(report))
    assert "ok   configuration" in done.stdout
    assert "warn daemon         process" in done.stdout, "it runs agents without containers"
    assert f"{site.root}/home" not in report.read_text(), "the name of the home folder is nobody's business"
    site.config.with_name("bad.toml").write_text("nonsense = 1\n")
    bad = site.run("doctor", "--config", str(site.config.with_name("bad.toml")))
    assert "bad  configuration" in bad.stdout
    assert bad.returncode != 0
