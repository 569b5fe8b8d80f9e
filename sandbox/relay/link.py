"""The way out of a sandbox that shares no socket with this machine: its relay, attached to again whenever that breaks.

Promises: each connection that is made to a port of the relay reaches the unix socket that `targets` names for the port;
a link that breaks is attached anew until `close`, with growing pauses; connections that were open then are cut on both
sides, those that come meanwhile are held by the relay. After `async with` nothing is left.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.errors import SandboxError
from sandbox.holder.link import Opener
from sandbox.relay.attachment import Attachment
from sandbox.relay.frames import RelayError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds
FINAL: Final = {"token_refused", "version_refused", "epoch_refused", "replaced"}


class RelayLink:
    """See the module. `opener` attaches: to a socket of the relay, or by an exec of `relay attach`.

    `failure` is set when it was fenced off for good: the relay belongs to a later manager.
    """

    def __init__(self, opener: Opener, targets: Mapping[int, Path], *, token: str, epoch: int) -> None:
        self.failure: RelayError | None = None
        self.attached = asyncio.Event()
        self._opener, self._targets = opener, targets
        self._token, self._epoch = token, epoch
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Attach. Raises RelayError, and what the opener raises: then nothing is left."""
        attachment = await self._attach()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(attachment))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _attach(self) -> Attachment:
        attachment = Attachment(self._targets)
        await attachment.open(self._opener, self._token, self._epoch)
        self.attached.set()
        return attachment

    async def _keep(self, attachment: Attachment | None) -> None:
        """Hold the attachment, and its successors."""
        while attachment is not None:
            try:
                await asyncio.wait([attachment.lost])
            finally:
                self.attached.clear()
                await attachment.close()
            attachment = None if self._is_final(attachment.failure) else await self._attach_again()

    async def _attach_again(self) -> Attachment | None:
        """Attach, however long it takes; None when this side is not wanted any more."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._attach()
            except (SandboxError, OSError) as error:
                if self._is_final(error):
                    return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _is_final(self, error: BaseException | None) -> bool:
        if isinstance(error, RelayError) and error.name in FINAL:
            self.failure = error
            return True
        return False
