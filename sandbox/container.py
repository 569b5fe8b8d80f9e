"""A sandbox: one container with its volumes, from creation to the confirmed end.

Promises: `create` returns a running sandbox or leaves nothing of it that was made by then; the container's name follows
from its identity, so what an earlier try left under it is replaced; what is not ours, or a later manager's, is never
touched; `remove` is the one way to stop.
"""

import asyncio
import io
import tarfile
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from sandbox import command
from sandbox.channel import ExecChannel, Receiver
from sandbox.command import Completed, Input
from sandbox.engine import Engine
from sandbox.errors import EngineError, NameTaken, SandboxError, SandboxGone
from sandbox.fate import Fate, fate_of
from sandbox.ownership import epoch_of, refuse_later
from sandbox.removal import remove_each
from sandbox.spec import (
    AGENT_UID,
    AGENT_USER,
    HOME,
    JOURNAL,
    LABEL,
    SandboxSpec,
    VolumeMount,
    create_settings,
    volume_mount,
)

NO_ENV: Mapping[str, str] = MappingProxyType({})
MODES = {HOME: 0o700, JOURNAL: 0o700}
USUAL_MODE = 0o755
LAST_LINES, LAST_LETTERS = 5, 500


class Sandbox:
    """See the module. Owner: whoever called `create`; `remove` ends it."""

    def __init__(self, engine: Engine, spec: SandboxSpec, container: str) -> None:
        self.engine = engine
        self.spec = spec
        self.id = container

    @classmethod
    async def create(cls, engine: Engine, spec: SandboxSpec) -> "Sandbox":
        """Create and start it, with its volumes where they do not exist yet.

        When it fails or is cancelled, the container and the volumes made by this call are removed, but what an engine
        makes after it was waited for; volumes of an earlier attempt stay. Raises ImageMissing, SettingRefused,
        RuntimeMissing, NameTaken, Fenced when a later manager was here, EngineError. That PID 1 is not in the image
        shows at the first use, since the init starts all the same.
        """
        made: list[str] = []
        try:
            await _refuse_beside_later(engine, spec)
            await _ensure_volumes(engine, spec, made)
            if made or (spec.volumes and spec.role == "agent"):  # others find the agent's volumes as they are
                await _give_to_agent(engine, spec)
            container = await _create_anew(engine, spec.name, create_settings(spec, engine.facts), spec)
            await engine.start_container(container)
        except BaseException:
            await asyncio.shield(_undo(engine, spec, made))
            raise
        return cls(engine, spec, container)

    async def open_channel(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        receiver: Receiver,
        user: str = AGENT_USER,
    ) -> ExecChannel:
        """Execute a program and return its channel; see `ExecChannel.open`.

        Raises SandboxGone with what became of the container and the last words of its PID 1.
        """
        try:
            return await ExecChannel.open(self.engine, self.id, argv, user=user, cwd=cwd, env=env, receiver=receiver)
        except SandboxGone as error:
            raise SandboxGone(await self._last_words()) from error

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        limit_bytes: int,
        timeout: float,  # noqa: ASYNC109 - the bound belongs to the command: it is killed then
        env: Mapping[str, str] = NO_ENV,
        stdin: Input = None,
        user: str = AGENT_USER,
    ) -> Completed:
        """Run a command to its end; see `command.run`."""
        return await command.run(
            self.open_channel, argv, cwd=cwd, env=env, stdin=stdin, limit_bytes=limit_bytes, bound=timeout, user=user
        )

    async def fate(self) -> Fate:
        """Tell what became of it, from the engine. Raises EngineError when the engine does not answer."""
        return await fate_of(self.engine, self.id)

    async def remove(self, *, volumes: bool = False) -> bool:
        """Kill and remove it, with `volumes` also what it has stored; idempotent.

        True when all of it is confirmed gone, also when somebody else removed it; False when the engine does not
        answer or refuses (a volume that another container uses; the others go all the same): try again later.
        """
        try:
            await self.engine.remove_container(self.id)
            await remove_each(self.spec.volumes if volumes else (), self.engine.remove_volume)
        except EngineError:
            return False
        return True

    async def _last_words(self) -> str:
        fate = await self.fate()
        try:
            words = (await self.engine.logs(self.id, lines=LAST_LINES)).decode(errors="replace").strip()
        except SandboxGone:
            words = ""
        return f"{fate.describe()[:-1]}; its last words: {words[-LAST_LETTERS:]}" if words else fate.describe()


async def _refuse_beside_later(engine: Engine, spec: SandboxSpec) -> None:
    """Raise Fenced when a later manager has a sandbox of the subagent, of any attempt: its volumes are these."""
    for each in await engine.containers({f"{LABEL}store": spec.store, f"{LABEL}subagent": spec.subagent}):
        refuse_later(f"container {each['Names'][0].lstrip('/')}", each["Labels"], _epoch(spec))


async def _ensure_volumes(engine: Engine, spec: SandboxSpec, made: list[str]) -> None:
    """Create those that do not exist, noting them in `made`. Raises NameTaken when one is not ours, Fenced."""
    labels = {key: value for key, value in spec.all_labels.items() if key != f"{LABEL}attempt"}
    for name in spec.volumes:
        found = await engine.inspect_volume(name)
        if found is None:
            made.append(name)
            await engine.create_volume(name, labels)
        elif not _is_ours(found["Labels"], spec):
            raise _foreign("volume", name)
        else:
            refuse_later(f"volume {name}", found["Labels"], _epoch(spec))


async def _give_to_agent(engine: Engine, spec: SandboxSpec) -> None:
    """Make the agent the owner of the roots of its volumes, and root that of the journal's.

    A new volume belongs to root, and the sandbox's root has no right to give it away. The engine has: unpacking a
    directory over the mount point sets that directory's owner and mode. It refuses this for a read-only root, so the
    volumes are mounted in a container that never runs.
    """
    mounts = [volume_mount(VolumeMount(name, target, read_only=False)) for name, target in spec.volumes.items()]
    settings = {
        "image": spec.image,
        "entrypoint": list(spec.command),
        "labels": {**spec.all_labels, f"{LABEL}role": "workspace"},
        "host_config": {"network_mode": "none", "cap_drop": ["ALL"], "mounts": mounts},
    }
    helper = await _create_anew(engine, _helper_name(spec), settings, spec)
    await engine.put_archive(helper, "/", _owned_directories(spec))
    await engine.remove_container(helper)


def _owned_directories(spec: SandboxSpec) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for target in spec.volumes.values():
            entry = tarfile.TarInfo(target.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, MODES.get(target, USUAL_MODE)
            entry.uid = entry.gid = 0 if target == JOURNAL else AGENT_UID
            archive.addfile(entry)
    return buffer.getvalue()


async def _create_anew(engine: Engine, name: str, settings: Mapping[str, Any], spec: SandboxSpec) -> str:
    """Create a container; one of ours that an earlier try left under the name is removed first."""
    create = partial(engine.create_container, name, settings, unsafe_seccomp=spec.unsafe_seccomp)
    try:
        return await create()
    except NameTaken:
        if not await _remove_if_ours(engine, name, spec):
            raise _foreign("container", name) from None
    return await create()


async def _remove_if_ours(engine: Engine, name: str, spec: SandboxSpec) -> bool:
    """Remove the container of that name; False when it is not ours. One that is not there counts as removed.

    Raises Fenced when it is a later manager's.
    """
    try:
        found = await engine.inspect_container(name)
    except SandboxGone:
        return True
    labels = found["Config"]["Labels"]
    if not _is_ours(labels, spec):
        return False
    refuse_later(f"container {name}", labels, _epoch(spec))
    await engine.remove_container(found["Id"])
    return True


async def _undo(engine: Engine, spec: SandboxSpec, volumes: Sequence[str]) -> None:
    """Remove what a creation has made by now.

    An engine that was late with its answer may make the container after this look. It is not waited for, which nothing
    would bound: the container bears its name and labels, so the next try replaces it, and else the reaper removes it.
    """
    for name in (spec.name, _helper_name(spec)):
        try:
            await _remove_if_ours(engine, name, spec)
        except SandboxError:
            return  # the engine is gone or busy: the first error is the one to tell, and names find it all again
    for volume in volumes:
        try:
            found = await engine.inspect_volume(volume)
            refuse_later(f"volume {volume}", found and found["Labels"], _epoch(spec))
            await engine.remove_volume(volume)
        except SandboxError:
            return


def _helper_name(spec: SandboxSpec) -> str:
    return f"{spec.name}-owner"


def _is_ours(labels: Mapping[str, str] | None, spec: SandboxSpec) -> bool:
    own = {f"{LABEL}store": spec.store, f"{LABEL}subagent": spec.subagent}
    return own.items() <= (labels or {}).items()


def _epoch(spec: SandboxSpec) -> int:
    return epoch_of(spec.labels) or 0


def _foreign(what: str, name: str) -> NameTaken:
    return NameTaken(
        f"There is a {what} named {name} that is not of this store; it was left alone: remove or rename it."
    )
