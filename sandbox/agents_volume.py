"""The volume with the coding agents, as the engine holds it: filled once, published when proven, read-only in use.

A volume cannot be renamed or relabelled, and a killed filler leaves one that looks like any other. So each filler
fills a volume of its own, runs each program in it, and only then publishes it: by creating a second, empty volume whose
name is the content's and whose label names the filled one. Creating a volume that exists changes nothing, so of
several fillers exactly one wins and all agree on it. Promises: a name that `published` returns was filled and proven;
what was not published is never used, and the end of the next `fill` removes it.
"""

import contextlib
import os
import secrets
from dataclasses import dataclass

from sandbox.engine import Engine
from sandbox.errors import EngineError, ImageMissing

__all__ = ["AGENTS_MOUNT", "AgentsVolume"]

AGENTS_MOUNT = "/opt/subagents/agents"
IMAGE_FOLDER = "/agents"  # where the agents image has them; the engine copies that into an empty volume mounted there
PREFIX = "acp-subagents-agents"
VERSIONS_SCRIPT = "versions"  # in that folder: tells the name and the version of each program
CONTENT_LABEL, POINTER_LABEL = "io.acp-subagents.agents", "io.acp-subagents.agents-volume"
AGENT_USER = "10001:10001"
PUBLISH_TRIES = 3
COPY_SECONDS = 300.0
PROOF_SECONDS = 120.0  # each program is read from the disk for the first time
PROOF_LINES = 100


@dataclass(frozen=True, kw_only=True)
class AgentsVolume:
    """One content (`key`) on one engine. `versions` is what its programs must say: name and version, a line each."""

    engine: Engine
    key: str
    versions: str

    @property
    def pointer(self) -> str:
        """Give the name of the empty volume that names the filled one."""
        return f"{PREFIX}-{self.key}.published"

    async def published(self) -> str | None:
        """Return the name of the filled volume, None when there is none (any more) that can be trusted."""
        name = await self._pointed_at()
        if name is None:
            return None
        found = await self.engine.inspect_volume(name)
        # A volume that was removed and is then mounted comes back empty, without our label.
        return name if found and (found.get("Labels") or {}).get(CONTENT_LABEL) == self.key else None

    async def fill(self, agents_image: str, proof_image: str) -> str:
        """Fill a volume from the agents image, prove it in the other image, publish it; return the published one.

        Raises ImageMissing when the copy is not whole or a program does not run; nothing is published then.
        """
        name = f"{PREFIX}-{self.key}-{secrets.token_hex(4)}"
        holder = f"{name}-copy"
        try:
            await self._copy(name, agents_image, holder)
            await self._prove(name, proof_image)
            winner = await self._publish(name)
        finally:
            await self.engine.remove_container(holder)
            if await self.published() != name:
                await self.engine.remove_volume(name)
        await self._remove_all_but(winner)
        return winner

    async def _pointed_at(self) -> str | None:
        pointer = await self.engine.inspect_volume(self.pointer)
        return (pointer.get("Labels") or {}).get(POINTER_LABEL) if pointer else None

    async def _publish(self, name: str) -> str:
        """Name this volume the filled one, unless another is; a pointer to nothing is replaced."""
        for _ in range(PUBLISH_TRIES):
            await self.engine.create_volume(self.pointer, {POINTER_LABEL: name})
            if winner := await self.published():
                return winner
            await self.engine.remove_volume(self.pointer)
        raise EngineError(f"The agents volume {name} was removed while it was published; try again.")

    async def _copy(self, name: str, image: str, holder: str) -> None:
        """Create, not start, a container over a new volume: that copies, and keeps the volume in use from the start."""
        labels = {"VolumeOptions": {"Labels": {CONTENT_LABEL: self.key}}}
        settings = {
            "image": image,
            "command": [IMAGE_FOLDER],
            "labels": self._labels(),
            "host_config": {
                "network_mode": "none",
                "mounts": [{"Type": "volume", "Source": name, "Target": IMAGE_FOLDER, **labels}],
            },
        }
        await self.engine.create_container(holder, settings, bound=COPY_SECONDS)

    async def _prove(self, name: str, image: str) -> None:
        settings = {
            "image": image,
            "command": ["sh", f"{AGENTS_MOUNT}/{VERSIONS_SCRIPT}"],
            "user": AGENT_USER,
            "environment": {"HOME": "/tmp"},  # noqa: S108 - a tmpfs of this container
            "labels": self._labels(),
            "host_config": {
                "network_mode": "none",
                "read_only": True,
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges"],
                "tmpfs": {"/tmp": "mode=1777,exec"},  # noqa: S108
                "mounts": [{"Type": "volume", "Source": name, "Target": AGENTS_MOUNT, "ReadOnly": True}],
            },
        }
        container = f"{name}-proof"
        try:
            await self.engine.create_container(container, settings)
            await self.engine.start_container(container)
            code = await self.engine.wait_container(container, bound=PROOF_SECONDS)
            said = (await self.engine.logs(container, lines=PROOF_LINES)).decode(errors="replace").strip()
        finally:
            await self.engine.remove_container(container)
        if code != 0 or said != self.versions:
            told, due = said.splitlines(), self.versions.splitlines()
            wrong, missing = [line for line in told if line not in due], [line for line in due if line not in told]
            raise ImageMissing(
                f"The agents volume could not be filled: its programs said {' / '.join(wrong)[:200]!r} with exit code "
                f"{code} instead of {' / '.join(missing)}; free disk space on the engine and try again."
            )

    def _labels(self) -> dict[str, str]:
        return {
            "io.acp-subagents.role": "build",
            "io.acp-subagents.pid": str(os.getpid()),
            CONTENT_LABEL: self.key,
        }

    async def _remove_all_but(self, winner: str) -> None:
        """Remove what killed fillers left. Only now, when the published one is known, can no other be in the way."""
        for volume in await self.engine.volumes({CONTENT_LABEL: self.key}):
            if volume["Name"] != winner:
                with contextlib.suppress(EngineError):  # its filler works on it, will lose, and removes it itself
                    await self.engine.remove_volume(volume["Name"])
