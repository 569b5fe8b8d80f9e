"""A volume that holds one content for everybody on an engine: filled once, published when proven, read-only in use.

A volume cannot be renamed or relabelled, and a killed filler leaves one that looks like any other. So each filler
fills a volume of its own, proves it, and only then publishes it: by creating a second, empty volume whose name is the
content's and whose label names the filled one. Creating a volume that exists changes nothing, so of several fillers
exactly one wins and all agree on it. Promises: a name that `published` returns was filled and proven; what was not
published is never used, and the end of the next `fill_with` removes it. So it does with other versions that are much
older and that no container uses: who wants one of them again, another checkout it may be, fills it again.
"""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from sandbox.engine import Engine
from sandbox.errors import EngineError
from sandbox.ownership import BUILD_STORE, Owner

__all__ = ["PublishedVolume"]

PUBLISH_TRIES = 3
OLD = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class PublishedVolume:
    """One version (`key`) of a content on one engine."""

    content: ClassVar[str]
    image: ClassVar[str] = ""  # what it is filled from, with the key behind a colon
    engine: Engine
    key: str

    @property
    def content_label(self) -> str:
        return f"io.acp-subagents.{self.content}"

    @property
    def pointer(self) -> str:
        """Give the name of the empty volume that names the filled one."""
        return self._pointer_to(self.key)

    def _pointer_to(self, key: str) -> str:
        return f"acp-subagents-{self.content}-{key}.published"

    async def published(self) -> str | None:
        """Return the name of the filled volume, None when there is none (any more) that can be trusted."""
        pointer = await self.engine.inspect_volume(self.pointer)
        name = (pointer.get("Labels") or {}).get(self._pointer_label) if pointer else None
        found = await self.engine.inspect_volume(name) if name else None
        # A volume that was removed and is then mounted comes back empty, without our label.
        return name if found and (found.get("Labels") or {}).get(self.content_label) == self.key else None

    async def fill_with(self, filler: Callable[[str], Awaitable[None]]) -> str:
        """Let `filler` make, fill and prove a volume of the name it gets, then publish it; return the published one.

        What `filler` raises is raised again, and nothing is published then.
        """
        name = f"acp-subagents-{self.content}-{self.key}-{secrets.token_hex(4)}"
        try:
            await filler(name)
            winner = await self._publish(name)
        finally:
            if await self.published() != name:
                await self.engine.remove_volume(name)
        await self._remove_all_but(winner)
        return winner

    def mount(self, name: str, target: str, **options: Any) -> dict[str, Any]:
        """Return the mount with which a filler's container makes the volume: in use, and labelled, from the start."""
        labels = {"Labels": {self.content_label: self.key}, **options}
        return {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": labels}

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of a filler's containers."""
        return {
            **Owner.of_this_process(BUILD_STORE, 0).labels(),
            "io.acp-subagents.role": "build",
            self.content_label: self.key,
        }

    @property
    def _pointer_label(self) -> str:
        return f"{self.content_label}-volume"

    async def _publish(self, name: str) -> str:
        """Name this volume the filled one, unless another is; a pointer to nothing is replaced."""
        for _ in range(PUBLISH_TRIES):
            await self.engine.create_volume(self.pointer, {self._pointer_label: name})
            if winner := await self.published():
                return winner
            await self.engine.remove_volume(self.pointer)
        raise EngineError(f"The {self.content} volume {name} was removed while it was published; try again.")

    async def _remove_all_but(self, winner: str) -> None:
        """Remove what killed fillers left, and old versions.

        Only now, when the published one is known, can no other be in the way.
        """
        found = {each["Name"]: each for each in await self.engine.volumes({self.content_label: None})}
        for name, volume in found.items():
            key = volume["Labels"][self.content_label]
            with contextlib.suppress(EngineError):  # in use: by an agent, or by its filler, which will lose
                if key == self.key and name != winner:
                    await self.engine.remove_volume(name)
                elif key != self.key and _much_older(volume, found.get(winner)):
                    await self._remove_version(key, name)

    async def _remove_version(self, key: str, name: str) -> None:
        """Remove another version. The volume goes first: a pointer to nothing is none."""
        await self.engine.remove_volume(name)
        await self.engine.remove_volume(self._pointer_to(key))
        if self.image:
            await self.engine.remove_image(f"{self.image}:{key}")


def _much_older(volume: Mapping[str, Any], newest: Mapping[str, Any] | None) -> bool:
    """Tell whether a volume was made long before another, by the clock of their engine; False where it does not say."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        made, then = (datetime.fromisoformat(each["CreatedAt"]) for each in (newest or {}, volume))
        return made - then >= OLD
    return False
