"""What a sandbox shall be, and the exact settings that make it so.

`create_settings` is pure: a `SandboxSpec` and the engine's facts in, the arguments of `Engine.create_container` out.
Everything is hardened by default, and a spec weakens nothing but what it names `unsafe_`: the container's user is root
with four capabilities and nothing else (init, holder and relay run as that), the agent is executed as 10001 with none;
no network, read-only root, no new privileges, our own system-call filter, limits on everything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox import seccomp
from sandbox.engine_facts import EngineFacts
from sandbox.errors import SettingRefused
from sandbox.health import check_of

LABEL: Final = "io.acp-subagents."
AGENT_UID: Final = 10001
AGENT_USER: Final = f"{AGENT_UID}:{AGENT_UID}"
WORKSPACE: Final = "/workspace"
HOME: Final = "/home/agent"
BASE: Final = "/base"
JOURNAL: Final = "/journal"
KEPT_CAPABILITIES: Final = ("SETUID", "SETGID", "SETPCAP", "KILL")
NO_FILTER: Final = "seccomp=unconfined"

RUN_TMPFS_BYTES: Final = 16 * 1024 * 1024
OPEN_FILES: Final = 16384  # below the hard limit that engines in small machines run under: they cannot raise it
SMALLEST_MEMORY: Final = 32 * 1024 * 1024
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use; `cpus` is capped at those of the engine. /tmp lies in memory and counts as such."""

    memory_bytes: int = 2 * 1024**3
    cpus: float = 2.0
    pids: int = 512
    tmp_bytes: int = 512 * 1024**2

    def __post_init__(self) -> None:
        for name, value, least in (
            ("memory_bytes", self.memory_bytes, SMALLEST_MEMORY),
            ("cpus", self.cpus, 0.01),
            ("pids", self.pids, 8),
            ("tmp_bytes", self.tmp_bytes, 4096),
        ):
            if value < least:
                raise SettingRefused(f"The limit {name} is {value}; it must be at least {least}.")


@dataclass(frozen=True, slots=True)
class HostMount:
    """A directory of the host in the sandbox; read-only unless asked otherwise."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A volume of the engine in the sandbox; its content is the volume's alone, never the image's."""

    name: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One sandbox. `store`, `subagent` and `attempt` are its identity: the container's name follows from them.

    `command` is PID 1 below the init; `gid` the group under which it shares sockets with the manager (from the probe).
    With `work` and `home` there is a volume at /workspace and at /home/agent, both the agent's, that live across
    attempts. `base` is the volume at /base that only sandboxes of the role `workspace` have: the agent never sees it.
    `journal` is the volume at /journal for what holders keep, a folder for each attempt: root's alone, mode 0700.
    `labels` are those of its owner, and more of the caller's.
    `runtime` is the engine's name of what runs the container, its own default where it is empty. `unsafe_seccomp`: the
    agent's system calls are not filtered.
    `env` is seen by PID 1 and by every program executed later, and by whoever may inspect the container.
    """

    store: str
    subagent: str
    image: str
    command: tuple[str, ...]
    attempt: int = 1
    role: str = "agent"
    gid: int = 0
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[HostMount | VolumeMount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    work: bool = True
    home: bool = True
    base: bool = False
    journal: bool = False
    workdir: str = "/"
    runtime: str = ""
    unsafe_seccomp: bool = False

    def __post_init__(self) -> None:
        for what, value in (("store", self.store), ("subagent", self.subagent)):
            if not NAME.fullmatch(value):
                raise SettingRefused(
                    f"The {what} id {value!r} cannot be part of a container's name; use letters and digits."
                )
        if not self.command:
            raise SettingRefused("A sandbox needs a command for PID 1; name the relay or a program that waits.")

    @property
    def name(self) -> str:
        """The container's name: the same for the same identity, so that creating twice cannot make two."""
        role = "" if self.role == "agent" else f"-{self.role}"
        return f"{self._stem}{role}-{self.attempt}"

    @property
    def work_volume(self) -> str | None:
        return f"{self._stem}-work" if self.work else None

    @property
    def home_volume(self) -> str | None:
        return f"{self._stem}-home" if self.home else None

    @property
    def journal_volume(self) -> str | None:
        return f"{self._stem}-journal" if self.journal else None

    @property
    def volumes(self) -> dict[str, str]:
        """The sandbox's own volumes and where they are mounted."""
        base_volume = f"{self._stem}-base" if self.base else None
        pairs = ((self.work_volume, WORKSPACE), (self.home_volume, HOME), (base_volume, BASE))
        all_pairs = (*pairs, (self.journal_volume, JOURNAL))
        return {name: target for name, target in all_pairs if name is not None}

    @property
    def all_labels(self) -> dict[str, str]:
        own = {"store": self.store, "subagent": self.subagent, "attempt": str(self.attempt), "role": self.role}
        own |= {"runtime": self.runtime} if self.runtime else {}
        own |= {"unsafe": "unsafe_seccomp"} if self.unsafe_seccomp else {}
        return {**self.labels, **{LABEL + key: value for key, value in own.items()}}

    @property
    def _stem(self) -> str:
        return f"acp-{self.store[:8]}-{self.subagent}"


def create_settings(spec: SandboxSpec, facts: EngineFacts) -> dict[str, Any]:
    """Return the settings of the sandbox's container."""
    return {
        "image": spec.image,
        "entrypoint": list(spec.command),  # and no command: the image's own of either kind is never used
        "user": f"0:{spec.gid}",
        "working_dir": spec.workdir,
        "environment": {"HOME": HOME, **spec.env},
        "labels": spec.all_labels,
        "healthcheck": check_of(spec.command),
        "host_config": _host_settings(spec, facts),
    }


def _host_settings(spec: SandboxSpec, facts: EngineFacts) -> dict[str, Any]:
    limits = spec.limits
    settings: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "cap_add": list(KEPT_CAPABILITIES),
        "security_opt": ["no-new-privileges", NO_FILTER if spec.unsafe_seccomp else f"seccomp={seccomp.profile()}"],
        "read_only": True,
        "tmpfs": {
            "/tmp": f"rw,exec,nosuid,nodev,size={limits.tmp_bytes},mode=1777",  # noqa: S108 - agents load libraries from it
            "/run": f"rw,noexec,nosuid,nodev,size={RUN_TMPFS_BYTES},mode=755",
        },
        "init": True,
        "pids_limit": limits.pids,
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,
        "nano_cpus": int(min(limits.cpus, facts.cpus) * 1_000_000_000),
        "ulimits": [{"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES}, {"Name": "core", "Soft": 0, "Hard": 0}],
        "network_mode": "none",
        "ipc_mode": "private",
        "restart_policy": {"Name": "no"},
        "log_config": {"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}},
        "mounts": [volume_mount(VolumeMount(name, target, read_only=False)) for name, target in spec.volumes.items()]
        + [_mount(mount) for mount in spec.mounts],
    }
    if facts.cgroup_version == 2:
        settings["cgroupns"] = "private"  # engines with v1 refuse the setting
    if spec.runtime:
        settings["runtime"] = spec.runtime
    return settings


def _mount(mount: HostMount | VolumeMount) -> dict[str, Any]:
    if isinstance(mount, VolumeMount):
        return volume_mount(mount)
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def volume_mount(mount: VolumeMount) -> dict[str, Any]:
    """Return a volume's mount in the form of the engine's API."""
    return {
        "Type": "volume",
        "Source": mount.name,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "VolumeOptions": {"NoCopy": True},
    }
