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

    @classmethod
    def of(cls, site: DaemonSite, client: str = "claude") -> "Host":
        program = site.root / client
        shutil.copy(Path(__file__).with_name("mcp_host.py"), program)
        process = site.popen(sys.executable, str(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return cls(site, process)

    def ask(self, *words: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(line_of(self.process))
        return found

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(BOUND) == 0


def owner(site: DaemonSite, name: str) -> str:
    rows = site.look("SELECT parent FROM alias WHERE alias = ?", name)
    return str(rows[0][0]) if rows else name


def test_the_hook_and_the_server_of_one_host_session_are_one_parent(site: DaemonSite) -> None:
    host = Host.of(site)
    assert host.ask("hook", "s1")["found"] is None, "a hook that comes first finds nothing and fails nothing"
    host.ask("mcp")
    told = host.ask("hook", "s1")
    assert told["found"] is not None
    assert host.ask("hook", "s1") == told
    assert owner(site, told["found"]) == told["parent"]
    host.end()
    assert list((site.root / "rt" / "acp-subagents" / "sessions").iterdir()) == []


def test_a_second_session_in_the_same_host_process_is_not_mixed_with_the_first(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    first = host.ask("hook", "s1")
    assert host.ask("hook", "s2")["found"] is None
    host.ask("mcp")
    second = host.ask("hook", "s2")
    assert second["found"] not in (None, first["found"])
    assert host.ask("hook", "s1") == first
    host.end()


def test_with_two_servers_and_no_word_whose_they_are_nobody_guesses(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    host.ask("mcp")
    assert host.ask("hook", "s1")["found"] is None
    host.end()


def test_a_session_that_its_host_gives_a_new_id_keeps_what_it_owns(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    first = host.ask("hook", "s1")
    later = host.ask("hook", "s2", "new")
    assert later["found"] == first["parent"]
    assert owner(site, later["parent"]) == first["parent"]
    assert owner(site, first["found"]) == first["parent"]
    assert host.ask("hook", "s3")["found"] is None
    host.end()


def test_two_hosts_of_one_repository_find_each_their_own_server(site: DaemonSite) -> None:
    hosts = [Host.of(site), Host.of(site)]
    for host in hosts:
        host.ask("mcp")
    found = [host.ask("hook", f"s{number}")["found"] for number, host in enumerate(hosts)]
    assert len({*found, None}) == 3
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
    assert host.ask("hook", "s1")["found"] is None
    host.end()


def test_a_folder_of_notes_that_others_may_write_to_is_not_believed(site: DaemonSite) -> None:
    host = Host.of(site)
    host.ask("mcp")
    folder = site.root / "rt" / "acp-subagents" / "sessions"
    folder.chmod(0o777)
    assert host.ask("hook", "s1")["found"] is None
    host.end()
