"""Starting a daemon that outlives us and ending it again, with a scripted dockerd as the daemon."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from hostsetup import daemon
from hostsetup.daemon import Host
from hostsetup.engine_api import Answer, ping
from hostsetup.record import Record, Started
from hostsetup.talk import Stop

from tests.integration.hostsetup.peers import BOUND, at, write_dockerd

ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/", "SECRET_KEY": "k", "MAKEFLAGS": "-j", "HTTPS_PROXY": "p"}


@pytest.fixture
def host(tmp_path):
    """This machine without systemd, its pid files in the test's folder."""
    return Host(systemd=tmp_path / "no-systemd", pid_files=((tmp_path / "dockerd.pid", "dockerd"),))


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "state")
    record.make_folder()
    yield record
    started = record.read().started
    if started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(started.pid, 0)


def start(tmp_path, record, host, **dockerd):
    program = write_dockerd(tmp_path, **dockerd)
    daemon.start(str(program), at(tmp_path / "docker.sock"), record, ENVIRON, host)


def test_a_started_daemon_answers_and_is_noted_beyond_doubt(tmp_path, record, host):
    start(tmp_path, record, host)
    assert ping(at(tmp_path / "docker.sock")).answer is Answer.ANSWERS
    started = record.read().started
    assert started.boot_id == host.boot_id()
    assert started.start_ticks == host.start_ticks(started.pid)


def test_a_started_daemon_shares_nothing_with_us(tmp_path, record, host):
    with (tmp_path / "inherited").open("w") as kept:
        os.set_inheritable(kept.fileno(), True)
        umask = os.umask(0o077)
        try:
            start(tmp_path, record, host)
        finally:
            os.umask(umask)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["files"] == ["0", "1", "2", "3"]  # the last one is the listing itself
    assert seen["umask"] == 0o022
    assert seen["argv"] == []
    assert {"SECRET_KEY", "MAKEFLAGS"}.isdisjoint(seen["env"])
    assert (seen["env"]["HTTPS_PROXY"], seen["env"]["HOME"]) == ("p", "/")
    pid = record.read().started.pid
    assert os.getsid(pid) == pid


def test_ending_ends_the_daemon_that_was_noted(tmp_path, record, host):
    start(tmp_path, record, host)
    daemon.end(record.read().started, ENVIRON, host)
    assert ping(at(tmp_path / "docker.sock")).answer is Answer.REFUSED


@pytest.mark.parametrize("wrong", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_process_that_is_not_the_noted_one_is_never_signalled(tmp_path, record, host, wrong):
    start(tmp_path, record, host)
    daemon.end(replace(record.read().started, **wrong), ENVIRON, host)
    assert ping(at(tmp_path / "docker.sock")).answer is Answer.ANSWERS


def test_ending_a_daemon_that_is_gone_is_no_error(host):
    gone = subprocess.Popen(["/bin/true"])
    gone.wait(BOUND)
    daemon.end(Started(gone.pid, 1, host.boot_id()), ENVIRON, host)
    assert host.start_ticks(gone.pid) is None


def test_a_daemon_that_dies_is_told_with_its_last_words_and_a_remedy(tmp_path, record, host):
    with pytest.raises(Stop) as caught:
        start(tmp_path, record, host, first="sys.exit('failed to start daemon: iptables not found')")
    assert "it needs a working iptables: apt-get install iptables" in str(caught.value)
    assert "  | failed to start daemon: iptables not found" in str(caught.value)
    assert caught.value.code == 69
    assert record.read().started is None


def test_a_daemon_that_is_no_program_is_told(tmp_path, record, host):
    (tmp_path / "dockerd").write_text("not a program")
    (tmp_path / "dockerd").chmod(0o755)
    with pytest.raises(Stop, match="cannot be run"):
        daemon.start(str(tmp_path / "dockerd"), at(tmp_path / "docker.sock"), record, ENVIRON, host)
    assert record.read().started is None


def test_a_pid_file_that_names_somebody_else_is_deleted_before_the_start(tmp_path, record, host):
    (tmp_path / "dockerd.pid").write_text(str(os.getpid()))
    start(tmp_path, record, host)
    assert not (tmp_path / "dockerd.pid").exists()
    assert record.read().started is not None


def test_a_pid_file_that_names_the_zombie_of_a_daemon_is_deleted_too(tmp_path, record, host):
    zombie = subprocess.Popen([write_dockerd(tmp_path, first="sys.exit()")])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
    (tmp_path / "dockerd.pid").write_text(str(zombie.pid))
    start(tmp_path, record, host)
    assert not (tmp_path / "dockerd.pid").exists()
    assert record.read().started is not None
    zombie.wait(BOUND)


def test_a_daemon_that_somebody_else_is_starting_is_waited_for_and_not_noted(tmp_path, record, host):
    os.mkfifo(tmp_path / "gate")
    stranger = subprocess.Popen([write_dockerd(tmp_path, first=f"open({str(tmp_path / 'gate')!r}).read()")])
    try:
        (tmp_path / "dockerd.pid").write_text(str(stranger.pid))
        with (tmp_path / "gate").open("w"):  # opened once the stranger runs, and let through by closing it
            waiting = threading.Thread(
                target=daemon.start, args=("/bin/false", at(tmp_path / "docker.sock"), record, ENVIRON, host)
            )
            waiting.start()
        waiting.join(BOUND)
        assert not waiting.is_alive()
        assert record.read().started is None
        assert (tmp_path / "dockerd.pid").exists()
    finally:
        stranger.kill()
        stranger.wait(BOUND)


def test_two_set_ups_at_once_take_turns(tmp_path):
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(daemon.__file__).rsplit("/", 2)[0]!r})
from hostsetup.record import Record
record = Record(Path({str(tmp_path / "state")!r}))
with record.locked():
    before = record.read().packages
    record.add_packages((f"p{{len(before)}}",))
"""
    runs = [subprocess.Popen([sys.executable, "-I", "-B", "-c", code]) for _ in range(4)]
    assert [run.wait(BOUND) for run in runs] == [0] * 4
    assert Record(tmp_path / "state").read().packages == ("p0", "p1", "p2", "p3")


def test_a_note_that_is_not_ours_is_never_acted_on(tmp_path):
    record = Record(tmp_path)
    for text in ("[]", "{", '{"packages": ["x"]}', '{"packages": [], "started": {"pid": 1}}'):
        (tmp_path / "engine.json").write_text(text)
        with pytest.raises(Stop, match="cannot be read"):
            record.read()
