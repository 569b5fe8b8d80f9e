"""Whether anybody may spawn: a file beside the store says that nobody may, so that it outlasts managers."""

import asyncio
from pathlib import Path
from typing import Self

from acp_runtime.core.errors import Rejected, StoreError

__all__ = ["Pause"]


class Pause:
    """The switch of one store. What is under way goes on; nothing new is started while it is off."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def beside(cls, store: Path) -> Self:
        """Return the switch of the store at this path."""
        return cls(store.with_suffix(".paused"))

    async def check(self) -> None:
        """Raise `Rejected` (paused) while nobody may spawn."""
        if await self.on():
            sentence = "Delegation spawning is paused by the operator; `subagents pause --off` lets it go on."
            raise Rejected("paused", sentence)

    async def on(self) -> bool:
        """Tell whether spawning is paused."""
        return await asyncio.to_thread(self._path.exists)

    async def switch(self, *, on: bool) -> None:
        """Pause, or go on. Idempotent. Raises `StoreError` where the disk refuses."""
        try:
            await asyncio.to_thread(self._path.touch if on else lambda: self._path.unlink(missing_ok=True))
        except OSError as error:
            raise StoreError(f"{self._path} cannot be changed: {error.strerror}") from error
