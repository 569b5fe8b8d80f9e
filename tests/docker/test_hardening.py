"""What a program in a sandbox can do, asked from inside, against a golden table; and weak containers as the control.

The control shows that the questions can be answered the other way: a check that cannot fail is worth nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandbox.spec import AGENT_USER, KEPT_CAPABILITIES, Limits
from tests.contract.conftest import Place, closure, git, place
from tests.docker.conftest import IDLE, TEST_LABELS
from tests.docker.recorder import BOUND

__all__ = ["closure", "place"]

pytestmark = pytest.mark.docker

SCRIPT = Path(__file__).with_name("facts_inside.py").read_text(encoding="utf-8")
ASK = ("python3", "-I", "-c", SCRIPT)

NOTHING = "0000000000000000"
CONTAINERS = "00000000000001e0"  # SETUID, SETGID, SETPCAP, KILL
CALLS = [
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "kexec_load",
    "init_module",
    "finit_module",
    "delete_module",
    "swapon",
    "reboot",
    "open_by_handle_at",
    "fanotify_init",
    "quotactl",
    "settimeofday",
    "sethostname",
    "syslog",
    "acct",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsmount",
    "fspick",
    "pidfd_getfd",
    "mount_setattr",
]
NAMESPACES = ("mount", "cgroup", "uts", "ipc", "user", "pid", "net")
REFUSED_FAMILIES = ("packet", "alg", "vsock", "bluetooth", "xdp", "raw", "netlink netfilter")
DEVICES = [
    "fd",
    "full",
    "mqueue",
    "null",
    "ptmx",
    "pts",
    "random",
    "shm",
    "stderr",
    "stdin",
    "stdout",
    "tty",
    "urandom",
    "zero",
]
CLOSED = frozenset({"EACCES", "EROFS", "ENOENT", "EPERM"})  # which of them is the kernel's choice

# Fact, what an agent's process finds, and what a weak container answers where that shows that the fence is ours: the
# container's root there has SYS_ADMIN and no filter. Facts without a third column are the same anywhere, or depend on
# the kernel that runs the tests.
FACTS: tuple[tuple[str, object] | tuple[str, object, object], ...] = (
    *((name, NOTHING) for name in ("CapInh", "CapPrm", "CapAmb", "CapBnd")),
    ("CapEff", NOTHING, "00000000a82425fb"),
    ("NoNewPrivs", "1", "0"),
    ("Seccomp", "2", "0"),
    ("uid", [10001] * 3, [0] * 3),
    ("gid", [10001] * 3, [0] * 3),
    ("groups", []),
    ("become root", "EPERM", "ok"),
    ("a setuid program runs as", "10001"),
    *((name, "EPERM") for name in CALLS),
    ("clone3", "ENOSYS"),
    *((f"new namespace {name}", "EPERM", "ok") for name in NAMESPACES),
    ("new namespace none", "ok", "ok"),
    *((f"socket {name}", "ok") for name in ("unix", "inet", "inet6", "netlink route")),
    *((f"socket {name}", "EPERM") for name in REFUSED_FAMILIES),
    ("interfaces", ["lo"]),
    ("names are looked up", "no"),
    ("listening beyond loopback", []),
    *((f"write {path}", "EROFS", "ok") for path in ("/x", "/etc/x", "/usr/x", "/home/x")),
    ("write /run/x", "EACCES", "ok"),
    ("write /dev/x", "EACCES", "ok"),
    ("write /journal/x", "EACCES", "ENOENT"),
    ("write /run/subagents/x", "EACCES", "ENOENT"),
    ("write /opt/subagents/programs/x", "EROFS", "ENOENT"),
    ("write /proc/sys/kernel/core_pattern", "EROFS"),
    ("write /proc/sysrq-trigger", CLOSED),
    ("write /proc/1/oom_score_adj", "EACCES"),
    ("write /sys/kernel/uevent_helper", "EROFS"),
    ("write /sys/fs/cgroup/x", CLOSED),
    ("write /sys/fs/cgroup/pids/x", CLOSED),
    *((f"write {path}", "ok", "ok") for path in ("/tmp/x", "/dev/shm/x")),
    ("write home", "ok", "ok"),
    ("read /proc/kcore", CLOSED),
    ("read /proc/keys", "empty"),
    ("read /proc/timer_list", "empty"),
    ("read /dev/mem", "ENOENT"),
    ("read /proc/1/environ", "EACCES", "ok"),
    ("read /journal", "EACCES", "ENOENT"),
    ("read /run/subagents", "EACCES", "ENOENT"),
    ("mknod", "EPERM", "ok"),
    ("mkfifo", "ok", "ok"),
    ("chown", "EPERM", "ok"),
    ("firmware", []),
    ("engine socket", []),
    ("devices", DEVICES),
    ("mounted /", ["ro"], []),
    ("mounted /tmp", ["nodev", "nosuid"], []),
    ("mounted /run", ["nodev", "noexec", "nosuid"], []),
    ("mounted /sys", ["ro"]),
    ("others", ["docker-init", "holder", "relay"]),
    ("signal others", ["EPERM"], ["ok"]),
    ("read the environment of others", ["EACCES"], ["ok"]),
    ("read the memory of others", ["EACCES"]),
    ("list the files of others", ["EACCES"], ["ok"]),
    ("trace others", ["EPERM"]),
    ("core files", [0, 0]),
    ("open files", [16384, 16384]),
    ("processes", "96"),
    ("memory", str(256 * 1024 * 1024)),
    ("inherited files", [0, 1, 2]),
    ("environment", ["HOME", "PATH", "PWD"]),
    ("a program", 0),
    ("a debugger's own child", "ok"),
)
GOLDEN = {row[0]: row[1] for row in FACTS}
WEAK = {row[0]: row[2] for row in FACTS if len(row) == 3}
# The kernel looks at the (empty) arguments in a weak container: the calls are reached there.
REACHED = (
    "mount",
    "unshare",
    "io_uring_setup",
    "open_by_handle_at",
    "fsopen",
    "mount_setattr",
    "userfaultfd",
    "keyctl",
)
REACHED_FAMILIES = ("netlink netfilter", "alg", "vsock", "raw", "packet")


def assert_same(found: dict[str, object], wanted: dict[str, object]) -> None:
    """Fail with what was found and what was wanted, where these are not the same."""
    names = sorted(found.keys() | wanted.keys())
    pairs = {name: (found.get(name, "nothing"), wanted.get(name, "no such fact")) for name in names}
    wrong = {name for name, (had, due) in pairs.items() if (had not in due if due is CLOSED else had != due)}
    told = [f"{name}: found {pairs[name][0]!r}, wanted {pairs[name][1]!r}" for name in sorted(wrong)]
    assert not told, "\n" + "\n".join(told)


@pytest.fixture
def weak(image: str) -> Iterator[docker.models.containers.Container]:
    """A container with the filter off and a capability too many."""
    client = docker.from_env(timeout=60)
    container = client.containers.create(
        image,
        entrypoint=list(IDLE),
        labels=TEST_LABELS,
        security_opt=["seccomp=unconfined"],
        cap_add=["SYS_ADMIN"],
        network_mode="none",
        environment={"HOME": "/root"},
    )
    try:
        container.start()
        yield container
    finally:
        container.remove(force=True)
        client.close()


@pytest.mark.requirement("P23", "D08.3", "D09.23")
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_an_agents_process_finds_every_fact_as_the_golden_table_says(place: Place) -> None:
    (place.workspace / "facts.py").write_text(SCRIPT, encoding="utf-8")
    git(place.workspace, "add", "-A")
    git(place.workspace, "commit", "-qm", "facts")
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[run:python3 -I facts.py >facts.json]]", memory=256, pids=96)
        client = docker.from_env(timeout=60)
        try:
            code, output = client.containers.get(view.container).exec_run(["cat", "/workspace/facts.json"])
        finally:
            client.close()
    assert code == 0, output
    assert_same(json.loads(output), GOLDEN)


@pytest.mark.requirement("D09.23")
def test_a_weak_container_answers_otherwise(weak: docker.models.containers.Container) -> None:
    """Not one of these refusals comes from the kernel or the machine alone."""
    code, output = weak.exec_run(list(ASK))
    assert code == 0, output
    found = json.loads(output)
    assert_same({name: found[name] for name in WEAK}, WEAK)
    for name in (*REACHED, *(f"socket {family}" for family in REACHED_FAMILIES)):
        assert found[name] != "EPERM", (name, found[name])
    code, output = weak.exec_run(list(ASK), user=AGENT_USER)
    assert code == 0, output
    assert json.loads(output)["a setuid program runs as"] == "0", "the program would gain root where nothing forbids it"


async def answers(sandbox, user: str = AGENT_USER) -> dict[str, object]:
    done = await sandbox.run(ASK, cwd="/", limit_bytes=100_000, timeout=BOUND, user=user)
    assert done.exit_code == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def test_a_program_beside_the_holder_has_no_more_than_the_agent(make_sandbox):
    """The check after a task is one: only its bounding set is that of the container's root, which gives it nothing."""
    found = await answers(await make_sandbox())
    same = [name for name in GOLDEN if name.startswith(("Cap", "new namespace", "socket", "mount", "write /etc"))]
    assert_same({name: found[name] for name in same}, {**{name: GOLDEN[name] for name in same}, "CapBnd": CONTAINERS})


async def test_without_the_filter_the_rest_of_the_fence_stands(make_sandbox):
    found = await answers(await make_sandbox(unsafe_seccomp=True))
    assert (found["Seccomp"], found["new namespace user"]) == ("0", "ok")
    for name in ("CapEff", "NoNewPrivs", "uid", "a setuid program runs as", "write /x", "interfaces", "mknod", "chown"):
        assert found[name] == GOLDEN[name], name


async def test_the_containers_root_has_four_capabilities_and_no_way_past_permissions(make_sandbox):
    found = await answers(await make_sandbox(), user="0:0")
    bits = {"KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8}
    wanted = sum(1 << bits[name] for name in KEPT_CAPABILITIES)
    assert int(str(found["CapEff"]), 16) == int(str(found["CapBnd"]), 16) == wanted
    assert found["mknod"] == "EPERM"
    assert found["chown"] == "ok", "nothing changes: it is its own file"
    assert found["write home"] == "EACCES", "the agent's home is closed to it"
    for name in CALLS:
        assert found[name] == "EPERM", name


async def test_there_is_no_route_to_anywhere(sandbox):
    script = """
import socket, sys
for host in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    line = socket.socket(family)
    line.settimeout(5)
    try: line.connect((host, 80))
    except OSError as error: print(host, error.errno)
    else: print(host, "reached")
"""
    hosts = ("172.17.0.1", "169.254.169.254", "192.0.2.1", "2001:db8::1", "fe80::1")
    done = await sandbox.run(("python3", "-c", script, *hosts), cwd="/", limit_bytes=1000, timeout=BOUND)
    assert "reached" not in done.stdout.decode()
    assert done.stdout.count(b"\n") == len(hosts)


async def test_a_fork_bomb_stops_at_the_limit(make_sandbox):
    sandbox = await make_sandbox(work=False, home=False, limits=Limits(pids=40))
    count = """
import os
n = 0
try:
    while True:
        if os.fork() == 0: os.execvp("sleep", ["sleep", "60"])
        n += 1
except BlockingIOError:
    print(n)
"""
    done = await sandbox.run(("python3", "-c", count), cwd="/", limit_bytes=100, timeout=BOUND)
    assert 20 < int(done.stdout) < 40


async def test_tmp_has_a_size_and_runs_programs(make_sandbox):
    sandbox = await make_sandbox(work=False, home=False, limits=Limits(tmp_bytes=1_000_000))
    script = "head -c 2000000 /dev/zero >/tmp/big 2>/dev/null; cp /bin/true /tmp/true 2>/dev/null; stat -c %s /tmp/big"
    done = await sandbox.run(("sh", "-c", script), cwd="/", limit_bytes=100, timeout=BOUND)
    assert int(done.stdout) <= 1_003_520
    script = "rm /tmp/big; cp /bin/true /tmp/true && /tmp/true"
    done = await sandbox.run(("sh", "-c", script), cwd="/", limit_bytes=100, timeout=BOUND)
    assert done.exit_code == 0, done.stderr
