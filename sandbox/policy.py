"""What a container of ours may have: one list of settings, applied to the final ones whoever made them.

`refuse_dangerous` promises that a container is asked of the engine only with settings that are on the list, each with a
value that the list allows: what is not there is refused, also what nobody has thought of. It looks at what would be
sent, not at how it was asked for, so that no way of composing settings goes round it. What gives up a part of the
protection is let through only where the caller names it `unsafe_`. `refuse_same_user` looks at who asks.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from sandbox import seccomp
from sandbox.errors import RuntimeMissing, SameUser, SettingRefused
from sandbox.health import CHECK, NO_CHECK
from sandbox.spec import AGENT_UID, AGENT_USER, KEPT_CAPABILITIES, NO_FILTER, OPEN_FILES

# What a container has when nobody says otherwise would be too much: these are to be said.
REQUIRED: Final = {"network_mode": "none", "cap_drop": ["ALL"]}

# Why what is most often asked for is not on the list; the rest is refused as not being there.
DANGERS: Final = {
    "privileged": "it has all capabilities and the devices of the machine",
    "network_mode": "it would reach what the machine reaches",
    "pid_mode": "it would see processes that are not its own",
    "ipc_mode": "it would share memory with processes that are not its own",
    "uts_mode": "it could rename the machine",
    "userns_mode": "its root would be the machine's",
    "cgroupns": "it would see the machine's control groups",
    "cap_add": "the container's root has SETUID, SETGID, SETPCAP and KILL, and the agent has none",
    "security_opt": "our filter of system calls and no-new-privileges are all that may be said",
    "devices": "a device is the machine's",
    "device_requests": "a device is the machine's",
    "device_cgroup_rules": "a device is the machine's",
    "volumes_from": "volumes are mounted by name",
    "binds": "folders of the host are mounted by name",
    "sysctls": "the kernel is the machine's",
}
SETTINGS: Final = frozenset(
    {"image", "entrypoint", "command", "user", "working_dir", "environment", "labels", "healthcheck", "host_config"}
)
TMPFS_PLACES: Final = ("/tmp", "/run")  # noqa: S108 - a path inside a container
TMPFS_OPTIONS: Final = re.compile(r"rw|exec|noexec|nosuid|nodev|size=[1-9][0-9]*|mode=[0-7]{3,4}")
USER: Final = re.compile(rf"0:[0-9]+|{AGENT_USER}")
VOLUME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}")
RUNTIME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")

# A mount whose source is one of these, or contains one of them, gives the host away.
GIVES_THE_HOST = ("/", "/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/root", "/usr", "/lib", "/bin")
# Nothing below these is given either. (Below /run, /root and the home directory our own run directories live.)
CLOSED_TREES = ("/proc", "/sys", "/dev", "/etc", "/boot")
NO_WORKDIR = ("/proc", "/sys", "/dev")
MOUNT_KEYS: Final = {
    "bind": {"Type", "Source", "Target", "ReadOnly", "BindOptions"},
    "volume": {"Type", "Source", "Target", "ReadOnly", "VolumeOptions"},
}


def refuse_same_user(users: Iterable[int] | None = None) -> None:
    """Raise SameUser when one of `users`, by default this process's real and effective one, is that of agents.

    The kernel compares numbers: an agent of that number owns the process's files, and may signal it where it sees it.
    """
    if AGENT_UID in ((os.getuid(), os.geteuid()) if users is None else users):
        raise SameUser(
            f"This process runs as the user {AGENT_UID}, as which agents run in their sandboxes: they would own its "
            "files. Run it as another user."
        )


def refuse_dangerous(
    settings: Mapping[str, Any], *, unsafe_seccomp: bool = False, engine_root: str = "", home: str | None = None
) -> None:
    """Raise SettingRefused for the first setting that is not allowed, and for one that is required and not there.

    `settings` are those of `Engine.create_container`; mounts are in the form of the engine's API (`Type`, `Source`,
    `Target`, ...). `engine_root` is the engine's own directory; `home` the user's, by default this process's.
    """
    for name in settings:
        if name not in SETTINGS:
            raise _refused(name, settings[name])
    user = str(settings.get("user", AGENT_USER))
    if not USER.fullmatch(user):
        raise _refused("user", user)
    if settings.get("healthcheck", NO_CHECK) not in (NO_CHECK, CHECK):
        raise _refused("healthcheck", settings["healthcheck"])
    refuse_workdir(str(settings.get("working_dir") or "/"))
    host: Mapping[str, Any] = settings.get("host_config", {})
    for name, value in host.items():
        if not _is_allowed(name, value) and not (unsafe_seccomp and _unfiltered(name, value)):
            raise _refused(name, value)
    for name, due in REQUIRED.items():
        if name not in host:
            raise SettingRefused(f"A sandbox needs the setting {name} {due!r}, which nothing said; add it.")
    if host.get("memswap_limit", host.get("mem_limit")) != host.get("mem_limit"):
        raise _refused("memswap_limit", host["memswap_limit"])
    refuse_mounts(host.get("mounts") or (), engine_root=engine_root, home=home)


def refuse_runtime(runtime: str | None, known: Sequence[str]) -> None:
    """Raise RuntimeMissing for a runtime that the engine does not have; None stands for its own default."""
    if runtime is not None and runtime not in known:
        raise RuntimeMissing(
            f"The engine has no runtime {runtime!r}, it has: {', '.join(known) or 'none that it names'}. Install it "
            "and name it in the engine's daemon.json, or choose another."
        )


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
        target, kind = str(mount.get("Target") or "/"), mount.get("Type")
        if kind not in MOUNT_KEYS:
            raise _refused("type of mount", kind)
        if more := sorted(mount.keys() - MOUNT_KEYS[kind]):
            raise _refused(f"{more[0]} of the mount", target)
        if _lexical(target) == "/" or _within(_lexical(target), NO_WORKDIR):
            raise _refused("mount target", target)
        if (mount.get("VolumeOptions") or {}).keys() - {"NoCopy", "Labels"}:  # a driver's could be a bind mount
            raise _refused("options of the volume at", target)
        if (mount.get("BindOptions") or {"Propagation": "rprivate"}) != {"Propagation": "rprivate"}:
            raise _refused("options of the folder at", target)
        if kind == "volume" and not VOLUME.fullmatch(str(mount.get("Source") or "")):
            raise _refused("name of the volume", mount.get("Source"))
        if kind == "bind":
            _refuse_source(str(mount.get("Source") or "/"), gives_the_host, closed)


def _refuse_source(source: str, gives_the_host: tuple[str, ...], closed: tuple[str, ...]) -> None:
    try:
        real = os.path.realpath(source)
    except OSError:  # a link that only the kernel can follow
        real = "/"
    for path in (_lexical(source), real):
        if path.endswith(".sock") or _within(path, closed) or any(_within(given, (path,)) for given in gives_the_host):
            raise _refused("mount of the host's", source)


def _is_allowed(name: str, value: object) -> bool:
    try:
        return name in _ALLOWED and _ALLOWED[name](value)
    except (TypeError, AttributeError, LookupError):  # it has not even the form of what may be
        return False


def _exactly(wanted: object) -> Callable[[Any], bool]:
    # By type as well: 1 is not True, and what an engine makes of it is its own affair.
    return lambda value: type(value) is type(wanted) and value == wanted


def _positive(value: object) -> bool:
    return type(value) is int and value > 0  # 0 and -1 mean "without a limit" to an engine


def _capabilities(value: Any) -> bool:
    return set(value) <= set(KEPT_CAPABILITIES)


def _filtered(value: Any) -> bool:
    return "no-new-privileges" in value and set(value) <= {"no-new-privileges", f"seccomp={seccomp.profile()}"}


def _unfiltered(name: str, value: Any) -> bool:
    return name == "security_opt" and value == ["no-new-privileges", NO_FILTER]


def _tmpfs(value: Any) -> bool:
    words = [word for options in value.values() for word in str(options).split(",")]
    return set(value) <= set(TMPFS_PLACES) and all(TMPFS_OPTIONS.fullmatch(word) for word in words)


def _ulimits(value: Any) -> bool:
    most = {"nofile": OPEN_FILES, "core": 0}
    return all(0 <= each["Soft"] <= each["Hard"] <= most.get(each["Name"], -1) for each in value)


def _runtime(value: object) -> bool:
    return RUNTIME.fullmatch(str(value)) is not None


def _mounts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)  # `refuse_mounts` looks at each


_ALLOWED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "cap_drop": _exactly(["ALL"]),
    "cap_add": _capabilities,
    "security_opt": _filtered,
    "read_only": _exactly(True),
    "tmpfs": _tmpfs,
    "init": _exactly(True),
    "pids_limit": _positive,
    "mem_limit": _positive,
    "memswap_limit": _positive,
    "nano_cpus": _positive,
    "ulimits": _ulimits,
    "network_mode": _exactly("none"),
    "ipc_mode": _exactly("private"),
    "cgroupns": _exactly("private"),
    "restart_policy": _exactly({"Name": "no"}),
    "log_config": _exactly({"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}}),
    "mounts": _mounts,
    "runtime": _runtime,
}


def _lexical(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")


def _within(path: str, trees: Iterable[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(tree) for tree in trees)


def _refused(setting: str, value: object) -> SettingRefused:
    shown = repr(value)[:200]
    if (danger := DANGERS.get(setting)) is None and setting not in _ALLOWED and " " not in setting:
        return SettingRefused(f"The setting {setting} {shown} is none that a sandbox may have and is refused.")
    why = f" ({danger})" if danger is not None else ""
    return SettingRefused(
        f"The {setting} {shown} would give a sandbox more than itself{why} and is refused; leave it out."
    )
