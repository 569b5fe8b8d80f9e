"""What no container of ours may have: the refusals, applied to the final settings whoever made them.

`refuse_dangerous` promises that a setting which gives a container the host, another container or the kernel's
administration raises `SettingRefused` before the engine is asked. It looks at what would be sent, not at how it was
asked for, so that no way of composing settings goes round it. `refuse_same_user` looks at who asks.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sandbox.errors import SameUser, SettingRefused
from sandbox.spec import AGENT_UID

REFUSED_CAPABILITIES = frozenset(
    {"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_BOOT", "SYS_TIME", "DAC_READ_SEARCH", "SYSLOG"}
    | {"NET_ADMIN", "NET_RAW", "MKNOD", "MAC_ADMIN", "MAC_OVERRIDE", "BPF", "PERFMON", "CHECKPOINT_RESTORE"}
)
NAMESPACES = ("network_mode", "pid_mode", "ipc_mode", "uts_mode", "userns_mode", "cgroupns")
ALWAYS_EMPTY = ("privileged", "devices", "device_requests", "device_cgroup_rules", "volumes_from", "binds", "sysctls")

# A mount whose source is one of these, or contains one of them, gives the host away.
GIVES_THE_HOST = ("/", "/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/root", "/usr", "/lib", "/bin")
# Nothing below these is given either. (Below /run, /root and the home directory our own run directories live.)
CLOSED_TREES = ("/proc", "/sys", "/dev", "/etc", "/boot")
NO_WORKDIR = ("/proc", "/sys", "/dev")


def refuse_same_user(users: Iterable[int] | None = None) -> None:
    """Raise SameUser when one of `users`, by default this process's real and effective one, is that of agents.

    The kernel compares numbers: an agent of that number owns the process's files, and may signal it where it sees it.
    """
    if AGENT_UID in ((os.getuid(), os.geteuid()) if users is None else users):
        raise SameUser(
            f"This process runs as the user {AGENT_UID}, as which agents run in their sandboxes: they would own its "
            "files. Run it as another user."
        )


def refuse_dangerous(settings: Mapping[str, Any], *, engine_root: str = "", home: str | None = None) -> None:
    """Raise SettingRefused for the first dangerous setting.

    `settings` are those of `Engine.create_container`; mounts are in the form of the engine's API (`Type`, `Source`,
    `Target`, ...). `engine_root` is the engine's own directory; `home` the user's, by default this process's.
    """
    host: Mapping[str, Any] = settings.get("host_config", {})
    for name in ALWAYS_EMPTY:
        if host.get(name):
            raise _refused(name, host[name])
    for name in NAMESPACES:
        if str(host.get(name) or "").split(":")[0] in {"host", "container"}:
            raise _refused(name, host[name])
    for capability in host.get("cap_add") or ():
        if str(capability).upper().removeprefix("CAP_") in REFUSED_CAPABILITIES:
            raise _refused("cap_add", capability)
    for option in host.get("security_opt") or ():
        if str(option).replace(":", "=").endswith(("=unconfined", "=disable")):
            raise _refused("security_opt", option)
    refuse_workdir(str(settings.get("working_dir") or "/"))
    refuse_mounts(host.get("mounts") or (), engine_root=engine_root, home=home)


def refuse_workdir(path: str) -> None:
    """Raise SettingRefused for a directory of the kernel: an open file of the runtime can be entered through /proc."""
    if _within(_lexical(path), NO_WORKDIR):
        raise _refused("working directory", path)


def refuse_mounts(mounts: Iterable[Mapping[str, Any]], *, engine_root: str = "", home: str | None = None) -> None:
    """Raise SettingRefused for a mount that gives the host, the engine's socket or the kernel's trees away.

    Symbolic links of this machine are followed too; with a remote engine they mean nothing and the written path counts.
    """
    homes = (home if home is not None else str(Path.home()), engine_root)
    gives_the_host = (*GIVES_THE_HOST, *(path for path in homes if path))
    closed = (*CLOSED_TREES, *((engine_root,) if engine_root else ()))
    for mount in mounts:
        target, kind = str(mount["Target"]), mount.get("Type", "volume")
        if _lexical(target) == "/" or _within(_lexical(target), NO_WORKDIR):
            raise _refused("mount target", target)
        if (mount.get("VolumeOptions") or {}).get("DriverConfig"):
            raise _refused("driver options of the mount", target)
        if (mount.get("BindOptions") or {}).get("Propagation", "rprivate") != "rprivate":
            raise _refused("propagation of the mount", target)
        if kind == "bind":
            _refuse_source(str(mount["Source"]), gives_the_host, closed)
        elif kind != "volume":
            raise _refused("type of mount", kind)


def _refuse_source(source: str, gives_the_host: tuple[str, ...], closed: tuple[str, ...]) -> None:
    try:
        real = os.path.realpath(source)
    except OSError:  # a link that only the kernel can follow
        real = "/"
    for path in (_lexical(source), real):
        if path.endswith(".sock") or _within(path, closed) or any(_within(given, (path,)) for given in gives_the_host):
            raise _refused("mount of the host's", source)


def _lexical(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")


def _within(path: str, trees: Iterable[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(tree) for tree in trees)


def _refused(setting: str, value: object) -> SettingRefused:
    return SettingRefused(
        f"The {setting} {value!r} would give a sandbox more than itself and is refused; leave it out of the settings."
    )
