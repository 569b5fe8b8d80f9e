"""The daemon as a process: started by whoever needs it, one at a time, replaced and ended without losing anything."""

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.serve import FILES
from acp_runtime.clock import SystemClock
from acp_runtime.core.model import Limits
from acp_runtime.detached import wait_for_end
from tests.e2e.daemon_site import BOUND, MODULE, DaemonSite, daemon_site, line_of

PARENT = "parent"
START = """
import os, sys
from acp_runtime.api import start, unix_client
start.ARGV = (*start.ARGV, "--unsafe-local")
print(unix_client.UnixClient().hello()["pid"])
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        yield site


def spawn(site: DaemonSite, task: str, **changes: object) -> str:
    request = {"agent": "scripted", "workspace": str(site.workspace), "task": task, **changes}
    return str(site.client.call("spawn", PARENT, request=request)["id"])


def settled(site: DaemonSite, *subagents: str) -> list[dict]:
    waited = site.client.call("wait", PARENT, subagents=list(subagents), seconds=BOUND)
    assert waited["reason"] == "ended", (waited, site.log())
    return waited["views"]


def test_a_daemon_may_open_as_many_files_as_its_connections_need(site: DaemonSite) -> None:
    few, most = 1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({few}, {most}))\n{START}"
    assert site.run(code=code).returncode == 0
    assert resource.prlimit(site.pid, resource.RLIMIT_NOFILE) == (min(FILES, most), most)


def test_a_daemon_that_cannot_be_started_for_want_of_its_lock_says_so(site: DaemonSite) -> None:
    (site.socket.parent / "daemon.start").mkdir(mode=0o700, parents=True)
    done = site.run("serve", "--unsafe-local")
    assert (done.returncode, "daemon.start" in done.stderr) == (Exit.FAILED, True), done.stderr
    assert "Traceback" not in done.stderr


def test_two_clients_at_once_start_one_daemon(site: DaemonSite) -> None:
    starting = [site.popen(sys.executable, "-c", START, stdout=subprocess.PIPE) for _ in range(2)]
    pids = {line_of(process).strip() for process in starting}
    assert [process.wait(BOUND) for process in starting] == [0, 0]
    assert pids == {str(site.pid).encode()}
    assert site.log().count("listens on") == 1
    parent = int(Path(f"/proc/{site.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent not in {os.getpid(), *(process.pid for process in starting)}, "it is the child of a client"


def test_a_daemon_imports_nothing_of_the_folder_from_which_it_is_started(site: DaemonSite) -> None:
    hostile = site.root / "acp_runtime" / "cli"
    hostile.mkdir(parents=True)
    for folder in (hostile.parent, hostile):
        (folder / "__init__.py").write_text(f"open({str(site.root / 'imported')!r}, 'w').close()\n")
    starting = site.popen(sys.executable, "-P", "-c", START, stdout=subprocess.PIPE)
    assert line_of(starting).strip() == str(site.pid).encode()
    assert starting.wait(BOUND) == 0
    assert not (site.root / "imported").exists()


def test_a_daemon_in_the_background_keeps_no_file_of_who_started_it_open(site: DaemonSite) -> None:
    """Else `flock FILE subagents serve` would hold its lock, and a pipe have no end, for as long as a daemon lives."""
    ours, theirs = os.pipe()
    try:
        starting = site.popen(*MODULE, "serve", "--unsafe-local", pass_fds=[theirs])
        os.close(theirs)
        assert starting.wait(BOUND) == 0
        assert site.pid
        assert select.select([ours], [], [], 0)[0], "somebody has its other side"
        assert os.read(ours, 1) == b""
    finally:
        os.close(ours)


def test_a_start_that_fails_is_told_in_one_sentence(site: DaemonSite) -> None:
    site.state.parent.mkdir(parents=True)
    site.state.write_text("in the way")
    done = site.run("serve", "--unsafe-local")
    assert done.returncode == 1
    assert done.stderr.startswith("subagents serve: ")
    assert len(done.stderr.splitlines()) == 1
    assert str(site.state) in done.stderr


def test_the_log_names_the_subagent_of_each_step(site: DaemonSite) -> None:
    site.serve()
    subagent = spawn(site, "[[say:x]]")
    settled(site, subagent)
    assert f": {subagent}: files in the workspace: " in site.log()


def test_a_daemon_that_answers_is_left_alone_and_named(site: DaemonSite) -> None:
    pid = site.serve()
    again = site.run("serve", "--unsafe-local")
    assert (again.returncode, again.stderr) == (0, f"the daemon runs already (process {pid})\n")
    other = site.root / "other.toml"
    other.touch()
    told = f"by the configuration {site.config}, not {other}; --replace has it started anew"
    again = site.run("serve", "--unsafe-local", "--config", str(other))
    assert (again.returncode, again.stderr) == (0, f"the daemon runs already (process {pid}), {told}\n")
    other = site.run("serve", "--unsafe-local", "--foreground")
    assert other.returncode == 1
    assert f"a daemon answers already (process {pid}); end it, or use --replace" in other.stderr
    assert site.pid == pid


OTHER_FOLDER = """
import asyncio
from acp_runtime.api.errors import DaemonError
from acp_runtime.service import Runtime
async def look():
    async with Runtime.connect(start=False):
        pass
try:
    asyncio.run(look())
except DaemonError as error:
    print(error.kind)
"""


@pytest.mark.requirement("D10.10")
def test_a_daemon_with_another_store_is_not_taken_for_ones_own(site: DaemonSite) -> None:
    pid = site.serve()
    other = site.root / "other state"
    words = f"keeps its store in {site.state}, yours would be in {other}/acp-subagents"
    for verb, code in (("ps", 69), ("serve --unsafe-local", 1), ("serve --unsafe-local --replace", 1)):
        done = site.run(*verb.split(), XDG_STATE_HOME=str(other))
        assert (done.returncode, words in done.stderr) == (code, True), (verb, done.stderr)
        assert "XDG_RUNTIME_DIR" in done.stderr
    assert f"bad  daemon         the daemon that runs {words}" in site.run("doctor", XDG_STATE_HOME=str(other)).stdout
    assert site.run(code=OTHER_FOLDER, XDG_STATE_HOME=str(other)).stdout == "other_store\n"
    assert site.pid == pid
    assert not other.exists()


@pytest.mark.requirement("D10.8")
def test_completion_does_not_wait_for_a_daemon_that_stalls(site: DaemonSite) -> None:
    pid = site.serve()
    os.kill(pid, signal.SIGSTOP)
    try:
        done = site.run("__complete", "stop", "")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wrong_options_start_nothing(site: DaemonSite) -> None:
    for argv in (("--idle-exit", "-1"), ("--idle-exit", "nan"), ("--config", "none.toml")):
        assert site.run("serve", *argv).returncode == 2, argv
    assert not site.socket.exists()


def test_a_replaced_daemon_hands_its_agents_on(site: DaemonSite) -> None:
    first = site.serve()
    done = spawn(site, "[[say:told once]]", keep=True)
    settled(site, done)
    busy = spawn(site, "[[hang-politely]]", keep=True)
    site.client.call("send", PARENT, subagent=busy, text="[[say:from the queue]]")
    waited = site.client.call("wait", PARENT, subagents=[busy], mode="any_change", since=0, seconds=BOUND)
    assert waited["reason"] == "change"
    for _ in range(Limits().restarts + 1):
        second = site.serve("--replace")
        assert second != first
        assert wait_for_end(first, BOUND)
        first = second
        site.client.call("wait", PARENT, subagents=[busy, done], mode="all", since=0, seconds=BOUND)
    assert site.look("SELECT data FROM event WHERE kind = 'stop_requested'") == [], "it was stopped on the way"
    assert {each["id"] for each in site.client.call("list_subagents", OPERATOR)} == {done, busy}


@pytest.mark.requirement("B16")
def test_sigterm_stops_what_cannot_go_on_and_leaves_what_can(site: DaemonSite) -> None:
    pid = site.serve()
    kept, gone = spawn(site, "[[say:a]]", keep=True), spawn(site, "[[say:b]]")
    settled(site, kept, gone)
    site.end(pid)
    assert not site.socket.exists()
    states = dict(site.look("SELECT id, lifecycle FROM subagent"))
    assert states == {kept: "ready", gone: "stopped"}
    assert site.serve() != pid
    told = site.client.call("nudges", PARENT, state="pending")
    assert {(each["subagent"], each["kind"]) for each in told} >= {(gone, "stopped"), (kept, "completed")}


@pytest.mark.requirement("B24")
def test_a_killed_daemon_is_followed_by_one_that_takes_its_agents_up(site: DaemonSite) -> None:
    pid = site.serve()
    subagent = spawn(site, "[[hang-politely]]", keep=True)
    while not site.look("SELECT 1 FROM event WHERE kind = 'task_started'"):
        site.client.call("wait", PARENT, subagents=[subagent], mode="any_change", since=0, seconds=1)
    site.end(pid, signal.SIGKILL)
    assert site.socket.exists()
    assert site.serve() != pid
    view = settled(site, subagent)[0]
    assert view["tasks"][0]["state"] == "interrupted"
    assert site.client.hello()["epoch"] == 2


def test_an_idle_daemon_ends_by_itself(site: DaemonSite) -> None:
    assert site.run("serve", "--unsafe-local", "--idle-exit", "0.1").returncode == 0
    assert wait_for_end(int(site.store.with_name("store.db.lock").read_text()), BOUND)
    assert "ends: idle" in site.log()
    assert not site.socket.exists()


@pytest.mark.requirement("D10.4")
def test_the_daemons_own_keys_hold(site: DaemonSite) -> None:
    with site.config.open("a", encoding="utf-8") as file:
        file.write("[daemon]\nidle_exit = 600\nlease = 7\nlog_size = 1\nlog_files = 2\n")
    pid = site.serve()
    ((lease,),) = site.look("SELECT value FROM meta WHERE key = 'lease'")
    assert int(lease.split()[1]) - SystemClock().now() <= 7_000
    with (site.state / "daemon.log").open("a", encoding="utf-8") as log:
        log.write(("x" * 1_023 + "\n") * 1_024)
    site.serve("--replace")
    assert wait_for_end(pid, BOUND)
    assert sorted(path.name for path in site.state.glob("daemon.log*")) == ["daemon.log", "daemon.log.1"]


@pytest.mark.requirement("D10.4")
def test_a_configured_idle_end_needs_no_option(site: DaemonSite) -> None:
    with site.config.open("a", encoding="utf-8") as file:
        file.write("[daemon]\nidle_exit = 0.1\n")
    done = site.run("serve", "--unsafe-local", "--foreground")
    assert done.returncode == 0, done.stderr


def test_in_the_foreground_it_stays_and_ends_at_ctrl_c(site: DaemonSite) -> None:
    process = site.popen(*MODULE, "serve", "--foreground", "--unsafe-local", stderr=subprocess.PIPE)
    while not site.socket.exists():
        assert process.poll() is None
    assert site.pid == process.pid
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND) == 0
    assert not (site.state / "daemon.log").exists()


ROTATE = """
import logging, os, sys
from pathlib import Path
from acp_runtime.cli import background
background.log_to_file(Path(sys.argv[1]), 2_000, 2)
for number in range(300):
    logging.getLogger("x").info("line %d of many", number)
os.write(2, b"a traceback of the interpreter\\n")
"""


def test_the_log_is_rotated_and_standard_error_follows_it(site: DaemonSite) -> None:
    folder = site.root / "log"
    assert site.run(str(folder), code=ROTATE).returncode == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all(path.stat().st_size <= 2_100 for path in folder.iterdir())
    assert (folder / "daemon.log").read_text().endswith("a traceback of the interpreter\n")


def test_agents_that_are_run_in_another_way_are_left_to_who_runs_them_so(site: DaemonSite) -> None:
    """The daemon of this site runs local processes; one that would look for containers must not touch them."""
    pid = site.serve()
    subagent = spawn(site, "[[say:a]]", keep=True)
    settled(site, subagent)
    other = site.run("serve")
    assert (other.returncode, "starts agents as local processes" in other.stderr) == (Exit.FAILED, True), other.stderr
    site.end(pid, signal.SIGKILL)
    asked = site.run("ps")
    assert "were started --unsafe-local" in asked.stderr, asked.stderr
    assert dict(site.look("SELECT id, lifecycle FROM subagent")) == {subagent: "ready"}
    site.serve()
    assert site.client.call("status", PARENT, subagent=subagent)["status"] in ("starting", "idle")
