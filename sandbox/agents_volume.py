"""The volume with the coding agents, as the engine holds it: each program in it was run before it was published."""

from dataclasses import dataclass
from typing import ClassVar

from sandbox.errors import ImageMissing
from sandbox.published_volume import PublishedVolume

__all__ = ["AGENTS_MOUNT", "AgentsVolume"]

AGENTS_MOUNT = "/opt/subagents/agents"
IMAGE_FOLDER = "/agents"  # where the agents image has them; the engine copies that into an empty volume mounted there
VERSIONS_SCRIPT = "versions"  # in that folder: tells the name and the version of each program
AGENT_USER = "10001:10001"
COPY_SECONDS = 300.0
PROOF_SECONDS = 120.0  # each program is read from the disk for the first time
PROOF_LINES = 100


@dataclass(frozen=True, kw_only=True)
class AgentsVolume(PublishedVolume):
    """`versions` is what its programs must say: name and version, a line each."""

    content: ClassVar[str] = "agents"
    image: ClassVar[str] = "acp-subagents/agents"
    versions: str

    async def fill(self, agents_image: str, proof_image: str) -> str:
        """Fill a volume from the agents image, prove it in the other image, publish it; return the published one.

        Raises ImageMissing when the copy is not whole or a program does not run; nothing is published then.
        """

        async def filled(name: str) -> None:
            holder = f"{name}-copy"
            try:
                await self._copy(name, agents_image, holder)
                await self._prove(name, proof_image)
            finally:
                await self.engine.remove_container(holder)

        return await self.fill_with(filled)

    async def _copy(self, name: str, image: str, holder: str) -> None:
        """Create, not start, a container over a new volume: that copies, and keeps the volume in use from the start."""
        settings = {
            "image": image,
            "command": [IMAGE_FOLDER],
            "labels": self.labels,
            "host_config": {
                "network_mode": "none",
                "cap_drop": ["ALL"],
                "mounts": [self.mount(name, IMAGE_FOLDER)],
            },
        }
        await self.engine.create_container(holder, settings, bound=COPY_SECONDS)

    async def _prove(self, name: str, image: str) -> None:
        settings = {
            "image": image,
            "command": ["sh", f"{AGENTS_MOUNT}/{VERSIONS_SCRIPT}"],
            "user": AGENT_USER,
            "environment": {"HOME": "/tmp"},  # noqa: S108 - a tmpfs of this container
            "labels": self.labels,
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
