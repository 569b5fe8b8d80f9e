"""Hooks and MCP servers of one host: real processes find each other, or are told apart."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.core.legacy_text import WORKSPACE
from acp_runtime.mcp.identity import parent_name
from tests.e2e.daemon_site import BOUND, DaemonSite, daemon_site, line_of

pytestmark = pytest.mark.requirement("D10.43")


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        site.serve()
        yield site


@dataclass
class Host:
    """One host process, a client by its name."""

    site: DaemonSite
    process: "subprocess.Popen[bytes]"
    client: str

    @classmethod
    def of(cls, site: DaemonSite, client: str = "claude") -> "Host":
        program = site.root / client
        if not program.exists():  # written anew, it would be empty for another host that just starts
            shutil.copy(Path(__file__).with_name("mcp_host.py"), program)
        process = site.popen(
            sys.executable, str(program), str(site.workspace), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return cls(site, process, client)

    def ask(self, *words: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(line_of(self.process))
        return found

    def parent(self, session: str) -> str:
        return parent_name(self.client, self.site.workspace, session)

    def hook(self, session: str) -> list[str]:
        """Have a prompt's hook of a session run, and return as whom else it is known then."""
        self.ask("hook", "prompt", session)
        return [name for (name,) in self.site.look("SELECT alias FROM alias WHERE parent = ?", self.parent(session))]

    def spawn(self) -> str:
        """Have the newest server start an agent; return its id."""
        arguments = {"purpose": "a test", "cwd": WORKSPACE, "agent_kind": "scripted"}
        given = json.dumps(arguments | {"initial_task": "[[say:forty-two]]"})
        return str(self.ask("tool", "spawn_background_subagent", given)["structuredContent"]["id"])

    def told(self, session: str) -> str:
        """Return what a prompt of a session is told."""
        return str(self.ask("hook", "prompt", session).get("hookSpecificOutput", {}).get("additionalContext", ""))

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(BOUND) == 0


def owner(site: DaemonSite, name: str) -> str:
    rows = site.look("SELECT parent FROM alias WHERE alias = ?", name)
    return str(rows[0][0]) if rows else name


def test_the_hook_and_the_server_of_one_host_session_are_one_parent(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    (server,) = host.hook("s1")
    assert server.startswith("claude:mcp-")
    assert host.hook("s1") == [server]
    assert host.spawn() in host.told("s1")
    host.end()
    assert list((site.root / "rt" / "acp-subagents" / "sessions").iterdir()) == []


def test_a_server_that_comes_after_the_hook_of_its_session_is_that_parent(site: DaemonSite) -> None:
    host = Host.of(site)
    assert host.hook("s1") == [], "a hook that comes first finds nothing and fails nothing"
    host.ask("mcp")
    subagent = host.spawn()
    assert site.look("SELECT parent FROM subagent") == [(host.parent("s1"),)]
    assert subagent in host.told("s1")
    host.ask("mcp")
    host.spawn()
    assert host.hook("s2") != [], "the next server of the host waited for nobody"
    host.end()
    assert list((site.root / "rt" / "acp-subagents" / "sessions").iterdir()) == []


def test_with_two_sessions_that_wait_the_next_server_is_nobodys(site: DaemonSite) -> None:
    host = Host.of(site)
    for session in ("s1", "s2"):
        assert host.hook(session) == []
    host.ask("mcp")
    host.spawn()
    ((parent,),) = site.look("SELECT parent FROM subagent")
    assert parent.startswith("claude:mcp-")
    host.end()


def test_what_a_dead_host_waited_for_is_nobodys(site: DaemonSite) -> None:
    host = Host.of(site)
    host.hook("s1")
    host.end()
    waiting = site.root / "rt" / "acp-subagents" / "sessions"
    assert len(list(waiting.iterdir())) == 1
    host = Host.of(site)
    host.ask("mcp")
    assert not list(waiting.glob("*.waiting"))
    host.end()


def test_a_second_session_in_the_same_host_process_is_not_mixed_with_the_first(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    first = host.hook("s1")
    host.ask("mcp")
    second = host.hook("s2")
    assert [len(first), len(second)] == [1, 1]
    assert first != second
    assert host.hook("s3") == []
    assert host.hook("s1") == first
    host.end()


def test_with_two_servers_and_no_word_whose_they_are_nobody_guesses(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    host.ask("mcp")
    assert host.hook("s1") == []
    host.ask("mcp")
    host.spawn()
    assert host.told("s1") == "", "nor takes the third for the session's"
    host.end()


@pytest.mark.parametrize(("first", "source"), [("the server", "clear"), ("the hook", "compact")])
def test_a_session_that_goes_on_under_a_new_id_keeps_its_agents(site: DaemonSite, first: str, source: str) -> None:
    host = Host.of(site)
    if first == "the hook":
        host.hook("s1")
    host.ask("mcp")
    host.hook("s1")
    early = host.spawn()
    assert early in host.told("s1")

    host.ask("hook", "session", "s2", source)
    assert owner(site, host.parent("s2")) == host.parent("s1")
    assert early in host.told("s2"), "the model under the new id hears of what it began under the old one"
    late = host.spawn()
    assert late in host.told("s2")
    assert site.look("SELECT DISTINCT parent FROM subagent") == [(host.parent("s1"),)]
    assert host.told("s3") == "", "another session hears nothing of it"
    host.end()


def test_two_hosts_of_one_repository_find_each_their_own_server(site: DaemonSite) -> None:
    hosts = [Host.of(site), Host.of(site)]
    for host in hosts:
        host.ask("mcp")
    found = [host.hook(f"s{number}") for number, host in enumerate(hosts)]
    assert [len(each) for each in found] == [1, 1]
    assert found[0] != found[1]
    for host in hosts:
        host.end()


@pytest.mark.parametrize("where", ["another workspace", "another client", "a killed server"])
def test_a_server_that_is_not_the_sessions_is_not_found(site: DaemonSite, where: str) -> None:
    host = Host.of(site)
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir()
    match where:
        case "another workspace":
            host.ask("mcp", "--workspace", str(elsewhere))
        case "another client":
            host.ask("mcp", "--client", "codex")
        case _:
            host.ask("mcp")
            (note,) = (site.root / "rt" / "acp-subagents" / "sessions").glob("*.json")
            site.end(int(note.name.partition("-")[0]), signal.SIGKILL)
    assert host.hook("s1") == []
    host.end()


def test_a_folder_of_notes_that_others_may_write_to_is_not_believed(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    folder = site.root / "rt" / "acp-subagents" / "sessions"
    folder.chmod(0o777)
    assert host.hook("s1") == []
    host.end()
