"""What a program in a sandbox can do, asked from inside, against a golden table; and a weak container as the control.

The control shows that the questions can be answered the other way: a check that cannot fail is worth nothing.
"""

import json

import docker
import pytest

from sandbox.spec import AGENT_USER, KEPT_CAPABILITIES, Limits
from tests.docker.conftest import IDLE, TEST_LABELS
from tests.docker.recorder import BOUND

pytestmark = pytest.mark.docker

# Numbers that are the same on amd64 and arm64, and those that are not.
QUESTIONS = r"""
import ctypes, errno, json, os, platform, socket, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
NUMBERS = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "kexec_load": (246, 104),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224),
    "reboot": (169, 142), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "quotactl": (179, 60),
    "settimeofday": (164, 170), "sethostname": (170, 161), "syslog": (103, 116), "acct": (163, 89),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "fspick": (433, 433), "pidfd_getfd": (438, 438), "mount_setattr": (442, 442), "clone3": (435, 435),
}
def outcome(result):
    return "ok" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")
def call(number, *args):
    ctypes.set_errno(0)
    return outcome(libc.syscall(ctypes.c_long(number), *args))
def tried(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, "?")
    return "ok"
def space(flag):
    # A child in a new namespace: SIGCHLD and the flag, on this stack, as fork does it.
    ctypes.set_errno(0)
    args = (flag | 17, 0, 0, 0, 0)
    child = libc.syscall(ctypes.c_long(220 if ARM else 56), *map(ctypes.c_ulong, args))
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
    return outcome(child)
def write(path):
    with open(path, "w") as file: file.write("x")
facts = {name: call(numbers[ARM], 0, 0, 0, 0, 0) for name, numbers in NUMBERS.items()}
facts["userfaultfd"] = call(NUMBERS["userfaultfd"][ARM], 1)  # the flag without which kernels ask for a capability
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines())
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
    facts[name] = status[name].strip()
facts["uid"], facts["gid"], facts["groups"] = os.getresuid(), os.getresgid(), os.getgroups()
families = {"unix": 1, "inet": 2, "inet6": 10, "packet": 17, "alg": 38, "vsock": 40, "bluetooth": 31, "xdp": 44}
for name, family in families.items():
    facts["socket " + name] = tried(lambda: socket.socket(family, 1 if family in (1, 2, 10, 40) else 5).close())
facts["socket raw"] = tried(lambda: socket.socket(2, 3, 1).close())
facts["socket netlink route"] = tried(lambda: socket.socket(16, 3, 0).close())
facts["socket netlink netfilter"] = tried(lambda: socket.socket(16, 3, 12).close())
flags = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000}
for name, flag in {**flags, "pid": 0x20000000, "net": 0x40000000, "none": 0}.items():
    facts["new namespace " + name] = space(flag)
facts["interfaces"] = [name for _, name in socket.if_nameindex()]
facts["mknod"] = tried(lambda: os.mknod("/tmp/null", 0o20666, os.makedev(1, 3)))
facts["mkfifo"] = tried(lambda: os.mkfifo("/tmp/fifo"))
for path in ("/x", "/etc/x", "/usr/x", "/run/x", "/home/x", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"):
    facts["write " + path] = tried(lambda: write(path))
for path in ("/tmp/x", "/dev/shm/x", os.environ["HOME"] + "/x"):
    facts["write " + path] = tried(lambda: write(path))
facts["read /proc/1/environ"] = tried(lambda: open("/proc/1/environ").read())
facts["signal init"] = tried(lambda: os.kill(1, 0))
facts["read /proc/kcore"] = tried(lambda: open("/proc/kcore", "rb").read(1))
facts["become root"] = tried(lambda: os.setuid(0))
facts["chown"] = tried(lambda: os.chown("/tmp/x", 0, 0))
facts["engine socket"] = [path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)]
facts["block devices"] = [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "loop", "dm"))]
threads = [threading.Thread(target=lambda: None) for _ in range(20)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
facts["a program"] = subprocess.run(["git", "--version"], capture_output=True).returncode
facts["a debugger's own child"] = call(117 if ARM else 101, 0, 0, 0, 0)
print(json.dumps(facts))
"""

REFUSED = "EPERM"
NOTHING = "0000000000000000"
GOLDEN = {
    **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), NOTHING),
    # The bounding set of the container's root: an execution cannot empty it, only the holder will. It gives nothing.
    "CapBnd": "00000000000001e0",
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "uid": [10001] * 3,
    "gid": [10001] * 3,
    "groups": [10001],
    "interfaces": ["lo"],
    "clone3": "ENOSYS",
    **{f"socket {name}": "ok" for name in ("unix", "inet", "inet6", "netlink route")},
    **{
        f"socket {name}": REFUSED for name in ("packet", "alg", "vsock", "bluetooth", "xdp", "raw", "netlink netfilter")
    },
    **{f"new namespace {name}": REFUSED for name in ("mount", "cgroup", "uts", "ipc", "user", "pid", "net")},
    "new namespace none": "ok",
    "mknod": REFUSED,
    "mkfifo": "ok",
    **{f"write {path}": "EROFS" for path in ("/x", "/etc/x", "/usr/x", "/home/x")},
    "write /run/x": "EACCES",
    "write /proc/sys/kernel/core_pattern": "EROFS",
    **{f"write {path}": "ok" for path in ("/tmp/x", "/dev/shm/x", "/home/agent/x")},
    "read /proc/1/environ": "EACCES",
    "signal init": REFUSED,
    "become root": REFUSED,
    "chown": REFUSED,
    "engine socket": [],
    "block devices": [],
    "a program": 0,
    "a debugger's own child": "ok",
}
CALLS = """
    mount umount2 pivot_root chroot unshare setns bpf perf_event_open userfaultfd keyctl add_key request_key kexec_load
    init_module finit_module delete_module swapon reboot open_by_handle_at fanotify_init quotactl settimeofday
    sethostname syslog acct io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsmount
    fspick pidfd_getfd mount_setattr
"""
ALSO_REFUSED = CALLS.split()
GOLDEN |= dict.fromkeys(ALSO_REFUSED, REFUSED)

DEPENDS_ON_THE_KERNEL = ("read /proc/kcore", "write /proc/sysrq-trigger")

ASK = ("python3", "-I", "-c", QUESTIONS)


@pytest.fixture
def weak_answers(image):
    """The same questions in a container with the filter off and a capability too many."""
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
        code, output = container.exec_run(list(ASK))
        assert code == 0, output
        yield json.loads(output)
    finally:
        container.remove(force=True)
        client.close()


async def answers(sandbox, user: str = AGENT_USER) -> dict[str, object]:
    done = await sandbox.run(ASK, cwd="/", limit_bytes=100_000, timeout=BOUND, user=user)
    assert done.exit_code == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def test_a_sandbox_answers_every_question_as_the_golden_table_says(make_sandbox):
    found = await answers(await make_sandbox())
    for name in DEPENDS_ON_THE_KERNEL:
        assert found.pop(name) in {"EACCES", "ENOENT", "EPERM", "EROFS"}
    assert found == GOLDEN


def test_a_weak_container_answers_otherwise(weak_answers):
    """Not one of these refusals comes from the kernel or the machine alone."""
    assert weak_answers["CapEff"] != NOTHING
    assert weak_answers["NoNewPrivs"] == "0"
    assert weak_answers["Seccomp"] == "0"
    for name in ("unshare", "new namespace mount", "new namespace uts", "mknod", "chown", "write /x", "socket raw"):
        assert weak_answers[name] == "ok", name
    # The kernel looks at the (empty) arguments now: the calls are reached.
    for name in ("mount", "io_uring_setup", "open_by_handle_at", "fsopen", "mount_setattr", "userfaultfd", "keyctl"):
        assert weak_answers[name] != REFUSED, (name, weak_answers[name])
    for name in ("socket netlink netfilter", "socket alg", "socket vsock"):
        assert weak_answers[name] != REFUSED, name


async def test_the_containers_root_has_four_capabilities_and_no_way_past_permissions(make_sandbox):
    found = await answers(await make_sandbox(), user="0:0")
    bits = {"KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8}
    wanted = sum(1 << bits[name] for name in KEPT_CAPABILITIES)
    assert int(str(found["CapEff"]), 16) == int(str(found["CapBnd"]), 16) == wanted
    assert found["mknod"] == REFUSED
    assert found["chown"] == "ok", "nothing changes: it is its own file"
    assert found["write /home/agent/x"] == "EACCES", "the agent's home is closed to it"
    for name in ALSO_REFUSED:
        assert found[name] == REFUSED, name


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
