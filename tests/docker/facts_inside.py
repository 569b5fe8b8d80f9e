"""What a program in a container can do and sees, as JSON on stdout: run there, with Python's standard library alone.

Nothing here decides what is right: `test_hardening.py` has the golden table. An answer is a value, or how a try ended:
`ok` or the name of the error.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import threading

ARM = platform.machine() == "aarch64"
LIBC = ctypes.CDLL(None, use_errno=True)
# Numbers on amd64 and on arm64.
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
}  # fmt: skip
CLONE, PTRACE = (220, 117) if ARM else (56, 101)
SEIZE = 0x4206
NAMESPACES = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000,
    "net": 0x40000000, "none": 0,
}  # fmt: skip
FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "packet": 17, "alg": 38, "vsock": 40, "bluetooth": 31, "xdp": 44}
STREAMS = (1, 2, 10, 40)
CLOSED = (
    "/x", "/etc/x", "/usr/x", "/run/x", "/home/x", "/journal/x", "/run/subagents/x", "/opt/subagents/programs/x",
    "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/x", "/sys/fs/cgroup/pids/x", "/dev/x",
)  # fmt: skip
KEPT_FROM = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/dev/mem",
    "/proc/1/environ",
    "/journal",
    "/run/subagents",
)
SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


def outcome(result):
    return "ok" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def call(number, *args):
    ctypes.set_errno(0)
    return outcome(LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, args)))


def tried(action, *args):
    try:
        action(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, "?")
    return "ok"


def in_new(flag):
    """A child in a new namespace: SIGCHLD and the flag, on this stack, as fork does it."""
    ctypes.set_errno(0)
    child = LIBC.syscall(ctypes.c_long(CLONE), *map(ctypes.c_ulong, (flag | 17, 0, 0, 0, 0)))
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
    return outcome(child)


def write(path):
    with open(path, "w") as file:
        file.write("x")


def read(path):
    """How an attempt to read ended: `empty` for what can be opened and holds nothing, as what an engine masks."""
    try:
        if os.path.isdir(path):
            return "ok" if os.listdir(path) else "empty"
        with open(path, "rb") as file:
            return "ok" if file.read(1) else "empty"
    except OSError as error:
        return errno.errorcode.get(error.errno, "?")


def text(*paths):
    for path in paths:
        if os.path.exists(path):
            with open(path) as file:
                return file.read()
    return ""


def system_calls():
    found = {name: call(numbers[ARM], 0, 0, 0, 0, 0) for name, numbers in NUMBERS.items()}
    found["userfaultfd"] = call(NUMBERS["userfaultfd"][ARM], 1)  # without the flag kernels ask for a capability
    found |= {"new namespace " + name: in_new(flag) for name, flag in NAMESPACES.items()}
    return found


def rights():
    status = dict(line.split(":\t", 1) for line in text("/proc/self/status").splitlines())
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    found = {name: status[name].strip() for name in names}
    found["uid"], found["gid"], found["groups"] = os.getresuid(), os.getresgid(), os.getgroups()
    setuid = subprocess.run(["/usr/bin/setuid-root-id", "-u"], check=False, capture_output=True, text=True)
    found["a setuid program runs as"] = setuid.stdout.strip()
    found["become root"] = tried(os.setuid, 0)
    return found


def network():
    found = {}
    for name, family in FAMILIES.items():
        found["socket " + name] = tried(socket.socket, family, 1 if family in STREAMS else 5)
    found["socket raw"] = tried(socket.socket, 2, 3, 1)
    found["socket netlink route"] = tried(socket.socket, 16, 3, 0)
    found["socket netlink netfilter"] = tried(socket.socket, 16, 3, 12)
    found["interfaces"] = [name for _, name in socket.if_nameindex()]
    try:
        socket.getaddrinfo("example.com", 80)
        found["names are looked up"] = "yes"
    except OSError:
        found["names are looked up"] = "no"
    rows = [line.split() for path in ("/proc/net/tcp", "/proc/net/tcp6") for line in text(path).splitlines()[1:]]
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A"}
    found["listening beyond loopback"] = sorted(listening - {"0100007F", "00000000000000000000000001000000"})
    return found


def files():
    found = {"write " + path: tried(write, path) for path in CLOSED}
    found |= {"read " + path: read(path) for path in KEPT_FROM}
    for name, path in (("/tmp/x", "/tmp/x"), ("/dev/shm/x", "/dev/shm/x"), ("home", os.environ["HOME"] + "/x")):
        found["write " + name] = tried(write, path)
    found["mknod"] = tried(os.mknod, "/tmp/null", 0o20666, os.makedev(1, 3))
    found["mkfifo"] = tried(os.mkfifo, "/tmp/fifo")
    found["chown"] = tried(os.chown, "/tmp/x", 0, 0)
    found["firmware"] = os.listdir("/sys/firmware") if os.path.isdir("/sys/firmware") else []
    found["engine socket"] = [path for path in SOCKETS if os.path.exists(path)]
    found["devices"] = sorted(set(os.listdir("/dev")) - {"console", "core"})
    mounts = {line.split()[4]: set(line.split()[5].split(",")) for line in text("/proc/self/mountinfo").splitlines()}
    for path, wanted in (("/tmp", "nosuid nodev"), ("/run", "nosuid nodev noexec"), ("/", "ro"), ("/sys", "ro")):
        found["mounted " + path] = sorted(set(wanted.split()) & mounts.get(path, set()))
    return found


def others():
    """What can be done to processes of other users: the init, the relay, the holder."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    foreign = [pid for pid in pids if os.stat(f"/proc/{pid}").st_uid != os.getuid() or pid == 1]
    found = {"others": sorted({text(f"/proc/{pid}/comm").strip() for pid in foreign})}
    found["signal others"] = sorted({tried(os.kill, pid, 0) for pid in foreign})
    for what, part in (
        ("read the environment of", "environ"),
        ("read the memory of", "mem"),
        ("list the files of", "fd"),
    ):
        found[f"{what} others"] = sorted({read(f"/proc/{pid}/{part}") for pid in foreign})
    found["trace others"] = sorted({call(PTRACE, SEIZE, pid, 0, 0) for pid in foreign})
    return found


def limits():
    found = {"core files": resource.getrlimit(resource.RLIMIT_CORE)}
    found["open files"] = resource.getrlimit(resource.RLIMIT_NOFILE)
    found["processes"] = text("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max").strip()
    found["memory"] = text("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes").strip()
    found["inherited files"] = sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]  # but that of the folder
    found["environment"] = sorted(os.environ)
    return found


def works():
    threads = [threading.Thread(target=lambda: None) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {"a program": subprocess.run(["git", "--version"], check=False, capture_output=True).returncode}
    return found | {"a debugger's own child": call(PTRACE, 0, 0, 0, 0)}  # from now on each signal stops this process


if __name__ == "__main__":
    if not os.path.exists("/.dockerenv"):
        sys.exit("This asks the kernel for what harms a machine that grants it: only in a container.")
    print(json.dumps(system_calls() | rights() | network() | files() | others() | limits() | works()))
