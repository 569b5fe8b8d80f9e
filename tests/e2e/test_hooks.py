"""`subagents hook`: what a host's model is told by it, and that it never fails or holds up a prompt."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from acp_runtime.api.errors import DaemonError
from acp_runtime.cli.clients_found import about_late_hooks
from acp_runtime.hooks.hosts import HOSTS
from acp_runtime.mcp.identity import parent_name
from tests.e2e.daemon_site import BOUND, MODULE, DaemonSite, daemon_site

pytestmark = pytest.mark.requirement("D10.60")
CLAUDE = "claude"
QUIET = (0, "", "")
Done = subprocess.CompletedProcess[str]
Out = int | BinaryIO


class Session:
    """One session of a host, as its hooks see it."""

    def __init__(self, site: DaemonSite, session: str, client: str = CLAUDE) -> None:
        self._site, self._session, self._client = site, session, client

    @property
    def parent(self) -> str:
        return parent_name(self._client, self._site.workspace, self._session)

    def hook(self, event: str, *words: str, out: Out = subprocess.PIPE, **given: Any) -> Done:
        told = {"session_id": self._session, "cwd": str(self._site.workspace), "prompt": "hello"} | given
        return self.bare(json.dumps(told), event, "--client", self._client, *words, out=out)

    def bare(self, told: str, *words: str, out: Out = subprocess.PIPE) -> Done:
        argv = [*MODULE, "hook", *words]
        return subprocess.run(
            argv, env=self._site.env, cwd=self._site.root, input=told, stdout=out, stderr=subprocess.PIPE, text=True,
            timeout=BOUND, check=False,
        )  # fmt: skip

    def said(self, event: str, **given: Any) -> dict[str, Any] | None:
        """Return what an event is answered, on a machine that is as busy as it likes."""
        done = self.hook(event, "--within", "30000", **given)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout) if done.stdout else None

    def text(self, event: str, **given: Any) -> str:
        said = self.said(event, **given) or {}
        return str(said.get("reason") or said.get("hookSpecificOutput", {}).get("additionalContext", ""))

    def spawn(self, task: str) -> str:
        words = ("--agent", "scripted", "--workspace", str(self._site.workspace), "--parent", self.parent, "-q")
        done = self._site.run("spawn", *words, task)
        assert done.returncode == 0, done.stderr
        subagent = done.stdout.strip()
        assert self._site.run("wait", subagent, "--timeout", "60").returncode == 0
        return subagent


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("k", numbered=True)) as site:
        (site.workspace / ".git" / "info").mkdir(exist_ok=True)
        yield site


def nudges(site: DaemonSite) -> list[str]:
    return [state for (state,) in site.look("SELECT state FROM nudge ORDER BY created_seq")]


def test_a_prompt_is_told_the_roster_and_what_is_due_once(site: DaemonSite) -> None:
    site.serve()
    session = Session(site, "s1")
    assert session.said("prompt") is None, "with nothing to tell there is no block"
    subagent = session.spawn("[[say:forty-two]]")
    said = session.said("prompt")
    assert said is not None
    assert said["hookSpecificOutput"]["hookEventName"] == "UserPromptSubmit"
    assert subagent in said["hookSpecificOutput"]["additionalContext"]
    assert 'It said: "forty-two"' in said["hookSpecificOutput"]["additionalContext"]
    assert nudges(site) == ["claimed"]
    assert Session(site, "s2").said("prompt") is None, "another session hears nothing of it"
    assert session.said("stop") is None
    assert nudges(site) == ["committed"]
    again = session.text("prompt")
    assert subagent in again
    assert "It said" not in again
    assert session.said("prompt") is None, "a block that did not change is left out"


def test_a_model_that_is_about_to_stop_goes_on_with_what_is_due_and_not_for_ever(site: DaemonSite) -> None:
    with site.config.open("a") as config:
        config.write("[nudges]\nwakes = 2\n")
    site.serve()
    session = Session(site, "s1")
    session.said("prompt")
    for word in ("first", "second"):
        session.spawn(f"[[say:{word}]]")
        said = session.said("stop", stop_hook_active=word == "second")
        assert said is not None
        assert said["decision"] == "block"
        assert f'It said: "{word}"' in said["reason"]
    session.spawn("[[say:third]]")
    assert session.said("stop") is None, "after two in a row that only we began the model may stop"
    assert nudges(site) == ["committed", "committed", "pending"]
    assert 'It said: "third"' in session.text("prompt")


def test_a_host_that_gives_what_we_said_as_a_prompt_starts_no_new_turn_of_its_user(site: DaemonSite) -> None:
    with site.config.open("a") as config:
        config.write("[nudges]\nwakes = 1\n")
    site.serve()
    session = Session(site, "s1", "gemini")
    session.said("prompt")
    session.spawn("[[say:first]]")
    reason = session.text("stop")
    assert 'It said: "first"' in reason
    assert session.said("prompt", prompt=reason) is None, "the model has it before it"
    assert nudges(site) == ["committed"]
    session.spawn("[[say:second]]")
    assert session.said("stop") is None, "the loop guard holds over such prompts"
    assert 'It said: "second"' in session.text("prompt", prompt="and now?")


@pytest.mark.parametrize("client", HOSTS)
def test_each_host_is_answered_in_its_own_words(site: DaemonSite, client: str) -> None:
    site.serve()
    session = Session(site, "s1", client)
    session.spawn("[[say:one]]")
    said = session.said("prompt")
    assert said is not None
    assert said["hookSpecificOutput"]["hookEventName"] == ("BeforeAgent" if client == "gemini" else "UserPromptSubmit")
    session.spawn("[[say:two]]")
    said = session.said("stop")
    assert said is not None
    assert said["decision"] == ("deny" if client == "gemini" else "block")


def test_without_a_daemon_a_hook_says_nothing_and_starts_nothing(site: DaemonSite) -> None:
    for event in ("prompt", "stop", "session"):
        done = Session(site, "s1").hook(event)
        assert (done.returncode, done.stdout, done.stderr) == QUIET
    with pytest.raises(DaemonError):
        type(site.client)(site.socket, start=False).hello()
    assert not site.state.exists()


def test_a_daemon_that_does_not_answer_holds_up_no_prompt_and_nothing_is_lost(site: DaemonSite) -> None:
    pid = site.serve()
    session = Session(site, "s1")
    session.spawn("[[say:forty-two]]")
    os.kill(pid, signal.SIGSTOP)
    try:
        for event in ("prompt", "stop"):
            done = session.hook(event)
            assert (done.returncode, done.stdout, done.stderr) == QUIET
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "forty-two" in session.text("prompt")


def test_a_host_that_cannot_hear_an_answer_is_told_it_again(site: DaemonSite) -> None:
    site.serve()
    session = Session(site, "s1")
    session.spawn("[[say:forty-two]]")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as unheard:
        done = session.hook("prompt", "--within", "30000", out=unheard)
    assert done.returncode == 0
    assert nudges(site) == ["claimed"]
    assert 'It said: "forty-two"' in session.text("prompt")
    assert session.said("stop") is None
    assert nudges(site) == ["committed"]


def test_a_session_is_told_on_when_the_store_with_what_it_was_shown_is_no_more(site: DaemonSite) -> None:
    pid = site.serve()
    session = Session(site, "s1")
    session.spawn("[[say:one]]")
    assert 'It said: "one"' in session.text("prompt")
    site.end(pid)
    shutil.rmtree(site.state)
    site.serve()
    session.spawn("[[say:two]]")
    assert 'It said: "two"' in session.text("stop")


def test_a_session_that_begins_anew_is_told_the_roster_that_another_of_its_parent_was_told(site: DaemonSite) -> None:
    site.serve()
    subagent = Session(site, "s1").spawn("[[say:forty-two]]")
    same = ("--parent", Session(site, "s1").parent, "--within", "30000")
    for session in ("s1", "s2", "s2"):
        Session(site, session).hook("session", *same, source="startup")
        assert subagent in Session(site, session).hook("prompt", *same).stdout
        assert Session(site, session).hook("prompt", *same, prompt="and?").stdout.count("It said") == 0


def test_the_doctor_counts_the_hooks_that_ran_out_of_their_time_and_no_others(site: DaemonSite) -> None:
    site.socket.parent.mkdir(mode=0o700)
    session = Session(site, "s1")
    session.said("prompt")
    assert list(about_late_hooks(site.socket.parent)) == []
    argv = [*MODULE, "hook", "prompt", "--client", CLAUDE, "--within", "30000"]
    for _ in range(2):
        with subprocess.Popen(argv, bufsize=0, env=site.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hook:
            assert hook.stdin is not None
            hook.stdin.write(b" " * 1_000_000)  # more than a pipe holds: it reads
            hook.send_signal(signal.SIGALRM)
            assert hook.wait(BOUND) == 0
    (told,) = about_late_hooks(site.socket.parent)
    assert told.sentence.startswith("at least 2 ran out of their time")


@pytest.mark.parametrize("bound", [(), ("--within", "0"), ("--within", "-1"), ("--within", "nan")])
def test_a_host_that_never_ends_its_input_is_left(site: DaemonSite, bound: tuple[str, ...]) -> None:
    argv = [*MODULE, "hook", "prompt", "--client", CLAUDE, *bound]
    with subprocess.Popen(argv, env=site.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hook:
        assert hook.wait(BOUND) == 0
        assert hook.stdout is not None
        assert hook.stdout.read() == b""


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("{}", ("prompt", "--client", "claude")),
        ("[1]", ("prompt", "--client", "claude")),
        ("no json", ("stop", "--client", "claude")),
        ('{"session_id": "a b"}', ("prompt", "--client", "claude")),
        ('{"session_id": "s1"}', ()),
        ('{"session_id": "s1"}', ("prompt",)),
        ('{"session_id": "s1"}', ("prompt", "--client", "nobody")),
        ('{"session_id": "s1"}', ("prompt", "--client", "claude", "--of-later", "x")),
        ('{"session_id": "s1"}', ("prompt", "--client", "claude", "--within", "soon")),
        ('{"session_id": "s1"}', ("later", "--client", "claude")),
    ],
)
def test_whatever_a_host_says_its_prompt_goes_on(site: DaemonSite, told: str, words: tuple[str, ...]) -> None:
    done = Session(site, "s1").bare(told, *words)
    assert (done.returncode, done.stdout, done.stderr) == QUIET


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="while a module is loaded"),
        pytest.param("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])", id="with its alarm blocked"),
    ],
)
def test_a_hook_that_is_not_even_loaded_holds_up_no_prompt(site: DaemonSite, before: str) -> None:
    code = f"""
import os, signal, sys
from acp_runtime.cli.main import main
class Stuck:
    def find_spec(self, name, *_):
        if name == "acp_runtime.hooks.hook":
            print("stuck", flush=True)
            os.read(os.pipe()[0], 1)
sys.meta_path.insert(0, Stuck())
{before}
main(["hook", "prompt", "--client", "claude"])
"""
    done = site.run(code=code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stuck\n", "")


def test_the_time_of_a_hook_counts_from_the_start_of_its_process(site: DaemonSite) -> None:
    code = """
import time, acp_runtime.config  # takes a moment
from acp_runtime.hooks.bound import _age
used = time.process_time()
print(0.03 < used < _age() + 0.02)
"""
    assert site.run(code=code).stdout == "True\n"


def test_a_named_parent_is_told_whatever_the_session_is_called(site: DaemonSite) -> None:
    site.serve()
    session = Session(site, "s1")
    session.spawn("[[say:forty-two]]")
    done = Session(site, "another").hook("prompt", "--parent", session.parent, "--within", "30000")
    assert "forty-two" in done.stdout
