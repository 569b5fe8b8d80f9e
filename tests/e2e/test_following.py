"""What a person follows goes on: across a change of the daemon, and while an agent is at work."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from acp_runtime.api.unix_client import UnixClient
from acp_runtime.callers import OPERATOR
from tests.e2e.daemon_site import BOUND, DaemonSite, daemon_site

# The command, whose own starts of a daemon run agents without containers too.
LOCAL = """
import sys
from acp_runtime.api import start
from acp_runtime.cli.main import main
start.ARGV = (*start.ARGV, "--unsafe-local")
sys.exit(main())
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("f", numbered=True)) as site:
        yield site


class Following:
    """A process of the command whose output is read as it comes."""

    def __init__(self, site: DaemonSite, *argv: str) -> None:
        words = [sys.executable, "-c", LOCAL, *argv]
        self.process = site.popen(
            *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self.said = ""

    def until(self, words: str) -> None:
        assert self.process.stdout is not None
        while words not in self.said:
            assert select.select([self.process.stdout], [], [], BOUND)[0], f"{words!r} is never said, but: {self.said}"
            piece = os.read(self.process.stdout.fileno(), 65_536)
            assert piece, f"it ended without {words!r}: {self.said} {self.error()}"
            self.said += piece.decode()

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode())

    def end(self) -> int:
        assert self.process.stdout is not None
        self.said += self.process.stdout.read().decode()
        return self.process.wait(BOUND)

    def error(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


def spawned(site: DaemonSite, task: str) -> str:
    request = {"agent": "scripted", "workspace": str(site.workspace), "task": task, "keep": True}
    return str(site.client.call("spawn", OPERATOR, request=request)["id"])


def go(site: DaemonSite, name: str = "go") -> None:
    (site.root / name).touch()


def held(site: DaemonSite, name: str = "go") -> str:
    return f"[[wait:{site.root / name}]]"


@pytest.mark.requirement("D10.12")
@pytest.mark.parametrize("number", [None, signal.SIGKILL])
def test_what_is_followed_goes_on_with_the_next_daemon(site: DaemonSite, number: signal.Signals | None) -> None:
    first = site.serve()
    subagent = spawned(site, f"[[say:before the change]]{held(site)}")
    waiting = Following(site, "wait", subagent, "--json")
    log, attached = Following(site, "logs", "-f", subagent), Following(site, "attach", subagent)
    log.until("\nbefore the change\n")
    attached.until("task 1")
    if number is None:
        site.serve("--replace")
    else:
        site.end(first, number)
    log.until("interrupted")
    attached.until("interrupted")
    assert waiting.end() == 7, waiting.error()
    assert json.loads(waiting.said)["id"] == subagent
    log.until("The earlier session could not be had")  # what is queued before that waits for an answer
    attached.type("[[say:after the change]]\n")
    for following in (attached, log):
        following.until("\nafter the change\n")
    assert log.said.count("\nbefore the change\n") == 1, "what was told is not told again"
    UnixClient(site.socket).call("stop", OPERATOR, subagent=subagent)
    assert log.end() == 0


def test_who_is_attached_hears_when_nobody_reads_what_is_shown(site: DaemonSite) -> None:
    site.serve()
    subagent = spawned(site, f"{held(site)}[[say:done]]")
    attached = Following(site, "attach", subagent)
    attached.until("task 1")
    assert attached.process.stdout is not None
    attached.process.stdout.close()
    go(site)
    site.client.call("wait", OPERATOR, subagents=[subagent], seconds=BOUND)
    for _ in range(300):
        with suppress(BrokenPipeError):
            attached.type("[[say:more]]\n")
        with suppress(subprocess.TimeoutExpired):
            attached.process.wait(0.1)
            break
    said = attached.error()
    assert (attached.process.returncode, "nobody shows what becomes of it" in said) == (1, True), said
    assert "Traceback" not in said


@pytest.mark.requirement("D10.12")
def test_what_an_agent_writes_beside_the_protocol_is_shown_while_it_works(site: DaemonSite) -> None:
    site.serve()
    subagent = spawned(site, f"[[stderr:60]]{held(site)}[[stderr:30]][[say:done]]")
    following = Following(site, "logs", "-f", "--agent", subagent)
    following.until("stderr noise " * 4)
    now = site.run("logs", "--agent", "--json", subagent)
    assert "stderr noise" in json.loads(now.stdout)["text"]
    go(site)
    site.client.call("wait", OPERATOR, subagents=[subagent], seconds=BOUND)
    site.client.call("stop", OPERATOR, subagent=subagent)
    assert following.end() == 0, following.error()
    assert following.said.count("stderr noise") == 6
    assert site.run("logs", "--agent", subagent).stdout.count("stderr noise") == 6


@pytest.mark.requirement("D10.12")
def test_the_transcript_is_followed_to_the_end_of_the_subagent(site: DaemonSite) -> None:
    site.serve()
    subagent = spawned(site, f"[[say:one]]{held(site)}[[say:two]]")
    following = Following(site, "logs", "--follow", "--transcript", "--json", subagent)
    following.until('"one"')
    go(site)
    site.client.call("wait", OPERATOR, subagents=[subagent], seconds=BOUND)
    site.client.call("stop", OPERATOR, subagent=subagent)
    assert following.end() == 0, following.error()
    rows = [json.loads(line) for line in following.said.splitlines()]
    assert [row["text"] for row in rows if row["kind"] == "agent_message_chunk"] == ["one", "two"]
    assert rows[-1]["kind"] == "ended"


@pytest.mark.requirement("D10.12")
def test_the_daemons_log_is_followed_into_its_next_file(site: DaemonSite) -> None:
    site.state.mkdir(parents=True)
    log = site.state / "daemon.log"
    log.write_text("the first line\n")
    following = Following(site, "logs", "-f", "--daemon", "--json")
    following.until('{"line": "the first line"}')
    log.rename(site.state / "daemon.log.1")
    log.write_text("the first line of the next\n")
    following.until('{"line": "the first line of the next"}')
    following.process.send_signal(signal.SIGINT)
    assert following.end() == 0, following.error()
