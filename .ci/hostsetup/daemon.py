"""The engine's daemon on this machine: starting it so that it outlives us, and ending the one that we started.

Promises: a started daemon is noted before it is waited for, shares no terminal, session or open file with us, and
has its log in a file; one that dies is told with its own last words and a remedy; only the very process that was
noted (pid, start time, boot) is ever signalled.
"""

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hostsetup.endpoint import Endpoint
from hostsetup.engine_api import Answer, ping
from hostsetup.programs import ask, last_lines, quoted, with_system_path
from hostsetup.record import Record, Started
from hostsetup.remedies import remedy
from hostsetup.talk import ENGINE_UNAVAILABLE, Stop, say

START_SECONDS = 120.0
END_SECONDS = 60.0
POLL_SECONDS = 0.25
PING_SECONDS = 5.0
OPEN_FILES = 1_048_576
# A daemon of the machine gets no secrets of the person who typed make: only what it needs to reach registries.
PASSED_ON = ("HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")


@dataclass(frozen=True)
class Host:
    """Where the daemon's traces are on this machine."""

    proc: Path = Path("/proc")
    systemd: Path = Path("/run/systemd/system")
    # dockerd believes these files when any process has that pid, which after a restored snapshot is somebody else.
    pid_files: tuple[tuple[Path, str], ...] = (
        (Path("/var/run/docker.pid"), "dockerd"),
        (Path("/var/run/docker/containerd/containerd.pid"), "containerd"),
    )

    def boot_id(self) -> str:
        return (self.proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def start_ticks(self, pid: int) -> int | None:
        """When the process started, in ticks since boot; None when there is none, or only its zombie."""
        try:
            stat = (self.proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        state, *fields = stat.rpartition(")")[2].split()
        return None if state == "Z" else int(fields[18])

    def runs_docker_by_systemd(self, env: Mapping[str, str]) -> bool:
        return self.systemd.is_dir() and ask(["systemctl", "cat", "docker.service"], env=env)[0] == 0

    def clear_stale_pid_files(self) -> int | None:
        """Delete pid files whose process is gone, a zombie or somebody else's; return the pid of a live dockerd."""
        alive: int | None = None
        for path, name in self.pid_files:
            try:
                pid = int(path.read_text(encoding="ascii"))
            except (OSError, ValueError):
                continue
            if self._name_of(pid) != name or self.start_ticks(pid) is None:
                say(f"{path} names process {pid}, which is no running {name}; deleting that stale file.")
                path.unlink(missing_ok=True)
            elif name == "dockerd":
                alive = pid
        return alive

    def _name_of(self, pid: int) -> str:
        try:
            return (self.proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""


def start(dockerd: str, endpoint: Endpoint, record: Record, environ: Mapping[str, str], host: Host) -> None:
    """Start the daemon and wait until it answers. Raises Stop with its last words when it does not."""
    if host.runs_docker_by_systemd(environ):
        _start_by_systemd(endpoint, record, environ, host)
        return
    if _a_strangers_answers(endpoint, host):
        return
    say(f"Starting {dockerd} in the background (log: {record.daemon_log}).")
    process = _spawn(dockerd, record, environ)
    record.set_started(Started(process.pid, host.start_ticks(process.pid) or 0, host.boot_id()))
    try:
        _wait_until_it_answers(process, endpoint, record)
    except Stop:
        record.set_started(None)
        if not _a_strangers_answers(endpoint, host):  # two starts at once: the other one won
            raise
    process.returncode = 0  # it is the machine's from here on: nobody waits for it, and nobody should be told so


def end(started: Started, environ: Mapping[str, str], host: Host) -> None:
    """End the daemon that `start` noted; nothing happens when that one is gone. Raises Stop when it stays."""
    if started.boot_id != host.boot_id():
        return
    if started.pid == 0:
        say("Stopping the engine that was started for this (systemctl stop docker).")
        code, output = ask(["systemctl", "stop", "docker.socket", "docker.service"], env=environ, bound=END_SECONDS)
        if code != 0:
            raise Stop(f"systemctl could not stop docker:{quoted(output.splitlines()[-6:])}")
        return
    try:
        handle = os.pidfd_open(started.pid)
    except ProcessLookupError:
        return
    try:
        if host.start_ticks(started.pid) != started.start_ticks:
            return
        say(f"Ending the dockerd that was started for this (process {started.pid}).")
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], END_SECONDS)[0]:
            raise Stop(f"dockerd (process {started.pid}) did not end within {END_SECONDS:.0f} s; end it by hand.")
    finally:
        os.close(handle)


def _start_by_systemd(endpoint: Endpoint, record: Record, environ: Mapping[str, str], host: Host) -> None:
    say("Starting the engine (systemctl start docker).")
    record.set_started(Started(0, 0, host.boot_id()))
    code, output = ask(["systemctl", "start", "docker.service"], env=environ, bound=START_SECONDS)
    if code == 0 and _answers_within(endpoint, START_SECONDS):
        return
    record.set_started(None)
    _, journal = ask(["journalctl", "-u", "docker", "-n", "10", "--no-pager", "-o", "cat"], env=environ)
    lines = [*output.splitlines()[-4:], *journal.splitlines()]
    raise _did_not_start(lines, "journalctl -u docker")


def _answers_within(endpoint: Endpoint, bound: float) -> bool:
    for _ in range(int(bound / POLL_SECONDS)):
        if ping(endpoint, timeout=PING_SECONDS).answer is Answer.ANSWERS:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _a_strangers_answers(endpoint: Endpoint, host: Host) -> bool:
    """Wait for a dockerd that somebody else started; False when there is none, or it ended meanwhile."""
    pid = host.clear_stale_pid_files()
    if pid is None:
        return False
    say(f"dockerd (process {pid}) runs already and does not answer yet; waiting for it.")
    began = host.start_ticks(pid)
    for _ in range(int(START_SECONDS / POLL_SECONDS)):
        if ping(endpoint, timeout=PING_SECONDS).answer is Answer.ANSWERS:
            return True
        if began is None or host.start_ticks(pid) != began:
            return False
        time.sleep(POLL_SECONDS)
    raise Stop(
        f"dockerd (process {pid}) runs, but nothing answers at {endpoint.url} after {START_SECONDS:.0f} s; "
        "it may listen elsewhere (then set DOCKER_HOST), or hang (then restart it).",
        code=ENGINE_UNAVAILABLE,
    )


def _spawn(dockerd: str, record: Record, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    env = {key: value for key, value in environ.items() if key in PASSED_ON or key.lower().endswith("_proxy")}
    env["PATH"] = with_system_path(environ)["PATH"]
    with _like_a_service(), record.daemon_log.open("wb") as log:
        try:
            return subprocess.Popen(
                [dockerd], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/", start_new_session=True
            )
        except OSError as error:
            raise Stop(f"{dockerd} cannot be run ({error}); reinstall it.", code=ENGINE_UNAVAILABLE) from error


@contextmanager
def _like_a_service() -> Iterator[None]:
    """Give what a service manager gives a daemon: umask 022, and enough open files for many containers."""
    umask = os.umask(0o022)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # not every root may raise it, and most machines give enough
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], OPEN_FILES), max(limits[1], OPEN_FILES)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.umask(umask)


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", endpoint: Endpoint, record: Record) -> None:
    for _ in range(int(START_SECONDS / POLL_SECONDS)):
        try:
            process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if ping(endpoint, timeout=PING_SECONDS).answer is Answer.ANSWERS:
                return
        else:
            raise _did_not_start(last_lines(record.daemon_log, 8), str(record.daemon_log))
    process.terminate()
    process.wait(END_SECONDS)
    raise _did_not_start(last_lines(record.daemon_log, 8), str(record.daemon_log))


def _did_not_start(lines: list[str], log: str) -> Stop:
    return Stop(
        f"The engine did not start: {remedy(lines)}. Its last words ({log}):{quoted(lines)}", code=ENGINE_UNAVAILABLE
    )
