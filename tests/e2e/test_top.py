"""`subagents top`, driven by keys and read from the screen of a real terminal (tmux)."""

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acp_runtime.clock import SystemClock
from tests.agents.forms import form
from tests.e2e.daemon_site import BOUND, MODULE, DaemonSite, daemon_site

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="no terminal multiplexer: tmux is not installed")
ASKING = "[[say:I look.]][[ask:allow_once,reject_once]]"


class Terminal:
    """A tmux of its own with one pane, in which a command runs."""

    def __init__(self, site: DaemonSite, folder: Path, *command: str) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", os.devnull]
        self._env = site.env | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self.drawn = folder / "drawn"
        os.mkfifo(self.drawn)
        self._fd = os.open(self.drawn, os.O_RDWR | os.O_NONBLOCK)
        # tmux does not always know how a command ended; the shell does.
        shell = ("sh", "-c", '"$@"; echo "left with $?"; exec cat', "sh")
        self.tmux("new-session", "-d", "-x", "150", "-y", "45", "-c", str(site.root), *shell, *command)
        self.tmux("pipe-pane", f"cat > {self.drawn}")

    def tmux(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words], env=self._env, check=True, capture_output=True, text=True, timeout=BOUND
        ).stdout

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def until(self, wanted: Callable[[str], bool]) -> str:
        """Return the screen once it is as wanted; looked at whenever something was drawn."""
        clock = SystemClock()
        end = clock.now() + BOUND * 1000
        while True:
            screen = self.tmux("capture-pane", "-p")
            if wanted(screen):
                return screen
            left = (end - clock.now()) / 1000
            assert left > 0, screen
            if select.select([self._fd], [], [], min(left, 1))[0]:
                os.read(self._fd, 65536)

    def leaves_with(self, code: int) -> None:
        """See the command end."""
        self.shows(f"left with {code}")

    def shows(self, *words: str) -> str:
        return self.until(lambda screen: all(word in screen for word in words))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=BOUND)
        os.close(self._fd)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("t", numbered=True)) as site:
        (site.workspace / ".git" / "info").mkdir(exist_ok=True)
        site.serve()
        yield site


@pytest.fixture
def terminal(site: DaemonSite, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(site, tmp_path, *MODULE, "top")
    yield terminal
    terminal.close()


def spawn(site: DaemonSite, task: str, *more: str) -> str:
    words = ("spawn", "--agent", "scripted", "--workspace", str(site.workspace), "-q", *more, task)
    done = site.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_person_answers_speaks_and_stops_by_keys(site: DaemonSite, terminal: Terminal) -> None:
    terminal.shows("No open subagents", "Answer", "Stop")
    subagent = spawn(site, ASKING, "--permissions", "ask")
    terminal.shows(subagent, "waiting", "asks:", "  until ", " UTC", "I look.")
    terminal.press("a")
    terminal.shows("What ", ": allow_once", ": reject_once")
    terminal.press("Enter")
    terminal.shows("chose opt-0", "idle", "completed")
    terminal.press("s")
    terminal.shows("The next task of")
    terminal.type("[[write:made.txt|by hand]][[say:It is made.]]")
    terminal.press("Enter")
    terminal.shows("task 2, completed", "made.")
    terminal.press("x")
    terminal.shows("What it did is kept.")
    terminal.press("2")
    terminal.shows("No open subagents")
    terminal.press("e")
    terminal.shows(subagent, "stopped")
    terminal.press("d")
    terminal.shows("1 changed, +1 -0", "+by hand")
    terminal.press("q")
    terminal.until(lambda screen: "+by hand" not in screen)
    terminal.press("q")
    terminal.leaves_with(0)


def test_a_question_is_answered_in_words(site: DaemonSite, terminal: Terminal) -> None:
    spawn(site, form("What is it called?", {"type": "object", "properties": {"name": {"type": "string"}}}))
    terminal.shows("asks: What is it called?  [Give no answer | any text]")
    terminal.press("a")
    terminal.shows("in words")
    terminal.press("Enter")
    terminal.shows("Your answer to")
    terminal.type("amber")
    terminal.press("Enter")
    terminal.shows('"content": {"name": "amber"}', "completed")


def test_what_is_pasted_arrives_whole_and_the_end_of_a_long_answer_is_shown(
    site: DaemonSite, terminal: Terminal, tmp_path: Path
) -> None:
    spawn(site, "[[updates:9000]]", "--purpose", "long")
    terminal.shows("completed", "8999", "[task_complete]")
    terminal.press("s")
    terminal.shows("The next task of")
    pasted = tmp_path / "pasted"
    pasted.write_text("\nthe first\nthe second\nand the last")
    terminal.tmux("load-buffer", str(pasted))
    terminal.tmux("paste-buffer", "-p")
    terminal.shows("the first the second and the last")
    terminal.press("Enter")
    terminal.shows("task 2, completed: the first the second and the last")


def test_the_end_is_shown_until_somebody_scrolls_up_whatever_becomes_of_the_room_for_it(
    site: DaemonSite, terminal: Terminal
) -> None:
    subagent = spawn(site, "[[updates:200]]")
    terminal.shows("completed", "199", "[task_complete]")
    terminal.tmux("resize-window", "-x", "150", "-y", "30")
    terminal.until(lambda screen: screen.count("\n") == 30 and "q Quit" in screen)
    assert site.run("send", subagent, "[[updates:300]]").returncode == 0
    terminal.shows("299", "[task_complete]")
    terminal.press("Tab", "Home")
    terminal.shows("[session_opened]")
    assert site.run("send", subagent, "[[updates:400]]").returncode == 0
    assert "399" not in terminal.shows("task 3, completed", "[session_opened]")
    terminal.press("End")
    terminal.shows("399", "[task_complete]")


def test_the_view_moves_no_cursor_and_no_nudge_of_a_parent(site: DaemonSite, terminal: Terminal) -> None:
    subagent = spawn(site, "[[say:for its parent]]", "--parent", "someone")
    terminal.shows("for its parent", "completed", "of someone")
    view = site.client.call("status", "someone", subagent=subagent)
    assert view["unread"] > 0
    assert site.look("SELECT state FROM nudge WHERE subagent = ?", subagent) == [("pending",)]


def test_a_daemon_that_is_lost_is_asked_for_again(site: DaemonSite, terminal: Terminal) -> None:
    spawn(site, "[[say:before]]")
    terminal.shows("before")
    site.end(site.pid, signal.SIGKILL)
    site.serve()
    spawn(site, "[[say:after it]]", "--parent", "another")
    terminal.shows("[[say:after it]]")
    terminal.press("Down", "Down")
    terminal.shows("after it", "of another")


def test_without_a_terminal_it_says_so(site: DaemonSite) -> None:
    done = site.run("top")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "subagents top: top draws on a terminal, and this is none; `subagents ps` and `show` print\n"
    )
