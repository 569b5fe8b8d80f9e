"""What a hostile agent says, names, asks and leaves behind never becomes a command of a terminal or of a shell."""

import json
import os
import pty
import re
import select
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.cli.background import LOG
from tests.e2e.daemon_site import BOUND, MODULE, DaemonSite, daemon_site

# Title, clipboard, hyperlink, a device's string, colours, a report that types on its own, C1, bidi, hidden letters.
ATTACKS = (
    "\x1b]0;owned\x07",
    "\x1b]52;c;b3duZWQ=\x1b\\",
    "\x1b]8;;http://evil.test/\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1b[2J\x1b[31;5mred",
    "\x1b[6n\x1b[c",
    "\x9b1mbold\x9dtitle\x9c",
    "a\x08\x7fb\rc",
    "\u202edesrever\u2066 \u200b\U000e0041",
    "\x1b",
)
NASTY = " ".join(ATTACKS) + " end"
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e0fff]"
)
INJECTION = "x'; touch pasted; echo '$(touch pasted)`touch pasted`"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("t", numbered=True)) as site:
        site.serve()
        yield site


def spawned(site: DaemonSite, task: str, *more: str) -> str:
    words = ("spawn", "--agent", "scripted", "--workspace", str(site.workspace), "-q", *more, task)
    done = site.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def on_terminal(site: DaemonSite, *words: str) -> str:
    """Run a verb on a terminal of its own and return all that came out on it; its own line ends are CR LF."""
    person, terminal = pty.openpty()
    process = site.popen(*MODULE, *words, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    os.write(person, b"\x04")  # the end of what is typed, for the verb that reads it
    shown = b""
    try:
        while select.select([person], [], [], BOUND)[0]:
            try:
                shown += os.read(person, 65_536)
            except OSError:  # the last one on the other side has gone
                break
        assert process.wait(BOUND) in (0, 1, 8), shown
    finally:
        os.close(person)
    return shown.decode(errors="surrogateescape").replace("\r\n", "\n")


@pytest.fixture(scope="module")
def said(site: DaemonSite) -> str:
    """A subagent that has said, named, left and failed with all of the attacks, and has ended."""
    path = NASTY.replace("/", "").replace("\x00", "")
    acts = f"[[failtool:{NASTY}]][[think:{NASTY}]][[write:{path}|{NASTY}]][[raw:{NASTY}]][[say:{NASTY}]]"
    task = f"{acts}[[error:1|{NASTY}]]"
    subagent = spawned(site, task, "--parent", "host", "--purpose", f"purpose {NASTY}")
    site.run("wait", subagent)
    site.run("stop", subagent)
    return subagent


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    "words",
    [
        ("ps", "--all"),
        ("ps", "--all", "--json"),
        ("show", "ID"),
        ("show", "ID", "--json"),
        ("poll", "ID", "--since", "0"),
        ("logs", "ID"),
        ("logs", "ID", "--agent"),
        ("logs", "--daemon"),
        ("nudges",),
        ("work", "ID"),
        ("search", "end"),
        ("turn", "--parent", "host"),
        ("attach", "ID"),
        ("show", f"no such {NASTY}"),
    ],
    ids=lambda words: "-".join(words[:3])[:20].encode("ascii", "ignore").decode().replace("\x1b", ""),
)
def test_no_verb_lets_a_control_character_of_an_agent_out_on_a_terminal(
    site: DaemonSite, said: str, words: tuple[str, ...]
) -> None:
    shown = on_terminal(site, *(said if word == "ID" else word for word in words))
    assert shown.strip()
    assert FORBIDDEN.findall(shown) == [], shown


@pytest.mark.requirement("T17")
def test_a_patch_shows_its_escapes_on_a_terminal_and_is_whole_in_a_pipe(site: DaemonSite, said: str) -> None:
    assert "\\x1b]52;c;" in on_terminal(site, "work", said)
    assert "\x1b]52;c;" in site.run("work", said).stdout


@pytest.mark.requirement("T17")
def test_the_daemons_log_takes_no_control_character_and_no_forged_record(site: DaemonSite, tmp_path: Path) -> None:
    """The file itself is shown by pagers and by `tail`."""
    code = """
import logging, sys
from pathlib import Path
from acp_runtime.cli.background import log_to_file
log_to_file(Path(sys.argv[1]), 1_000_000, 1)
logging.getLogger("one").warning("an agent wrote: %s", sys.argv[2])
"""
    forged = "\n2026-01-01 00:00:00,000 INFO 1 two: all is well"
    assert site.run(str(tmp_path), NASTY + forged, code=code).returncode == 0
    log = (tmp_path / LOG).read_text()
    assert "an agent wrote: " in log
    assert FORBIDDEN.findall(log) == []
    assert [line for line in log.splitlines() if line.startswith("20")] == log.splitlines()[:1]


@pytest.mark.requirement("T14", "T17")
def test_the_line_that_answers_a_question_cannot_run_what_the_agent_wrote(site: DaemonSite) -> None:
    """A person copies it into a shell. What an option does is its kind; its name is only what the agent says of it."""
    options = [
        {"optionId": INJECTION, "name": "Reject", "kind": "allow_always"},
        {"optionId": "b", "name": NASTY, "kind": "anything"},
    ]
    asked = {"sessionId": "$SESSION", "toolCall": {"toolCallId": "t", "title": NASTY}, "options": options}
    request = json.dumps({"jsonrpc": "2.0", "id": "q", "method": "session/request_permission", "params": asked})
    subagent = spawned(site, f"[[raw:{request}]][[hang-politely]]", "--permissions", "ask")
    site.run("wait", subagent)
    shown = on_terminal(site, "show", subagent)
    assert FORBIDDEN.findall(shown) == [], shown
    lines = [line.strip() for line in shown.splitlines() if "subagents answer" in line]
    words = shlex.split(lines[0].rpartition("  (")[0])
    assert words == ["subagents", "answer", subagent, INJECTION]
    assert "(allow_always: Reject)" in lines[0]
    assert "(unknown: " in lines[1]
    assert site.run("stop", subagent).returncode == 0
