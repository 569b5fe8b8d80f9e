"""What an order allows its sandbox, in the sandbox's words. Folders of the host are checked before they are mounted."""

import posixpath
from pathlib import Path
from typing import Final

from acp_runtime.core.confinement import Confinement, Mount
from acp_runtime.core.errors import Rejected
from sandbox.endpoint import Endpoint
from sandbox.spec import HostMount, Limits

MIB: Final = 1024 * 1024
# What the sandbox itself consists of: a folder of the host must not cover any of it.
RESERVED: Final = ("/workspace", "/home/agent", "/base", "/run", "/opt/subagents", "/proc", "/sys", "/dev", "/tmp")  # noqa: S108

ENGINE_SOCKETS: Final = ("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


def sandbox_limits(given: Confinement) -> Limits:
    """Return the limits of a sandbox. Raises `SettingRefused` for a value that is too small."""
    return Limits(memory_bytes=given.memory * MIB, cpus=given.cpus, pids=given.pids, tmp_bytes=given.tmp * MIB)


def host_mounts(given: Confinement, endpoint: Endpoint, *, shared: bool) -> tuple[HostMount, ...]:
    """Return the mounts that were asked for by name. Raises `Rejected` (mount_refused).

    `shared`: the engine sees this machine's folders. Else another machine's of the same name would be mounted.
    """
    if given.mounts and not shared:
        raise _refused(given.mounts[0], "the engine shares no sockets with this process, so it may have other folders")
    return tuple(_mount(each, endpoint) for each in given.mounts)


def _mount(mount: Mount, endpoint: Endpoint) -> HostMount:
    target = posixpath.normpath(mount.target)
    if not target.startswith("/") or target == "/" or any(_within(target, each) for each in RESERVED):
        raise _refused(mount, f"its target {mount.target!r} is not a free absolute path inside the sandbox")
    source = Path(mount.source)
    if not source.is_absolute() or not source.is_dir():
        raise _refused(mount, "there is no such folder on this machine; name one by its absolute path")
    real = str(source.resolve())
    sockets = [*ENGINE_SOCKETS, *([endpoint.unix_path] if endpoint.unix_path else [])]
    if any(_within(str(Path(each).resolve()), real) for each in sockets):
        raise _refused(mount, "it holds the engine's socket, which would hand the machine to the agent")
    return HostMount(real, target, read_only=not mount.writable)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _refused(mount: Mount, why: str) -> Rejected:
    return Rejected("mount_refused", f"the folder {mount.source!r} was not mounted: {why}")
