"""What one session is told of its subagents: offered, shown once, and acknowledged when its agent has taken it.

What was offered and not taken is offered again. A daemon that is away, slow or of another version means that nothing is
offered; it never means an error here.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.acp_proxy.daemon import FIRST_PAUSE, LONGEST_PAUSE, Daemon
from acp_runtime.api.errors import DaemonError
from acp_runtime.core.errors import Rejected
from acp_runtime.core.roster import Block, parse_block, render
from acp_runtime.core.turns import Origin

log = logging.getLogger(__name__)

DOOR: Final = "acp"
OFFER_SECONDS: Final = 0.3
COMMIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A block to show. `nudges` are those of the turn that nobody was shown before; `roster` is what else it says."""

    token: str
    text: str
    nudges: tuple[str, ...]
    roster: str
    whole: bool


class Ledger:
    """The turns of one parent through this door. `name` is the parent; it becomes an alias of `real`.

    `missed`: what the last offer was asked for is not known, since the daemon did not tell in time.
    """

    def __init__(self, daemon: Daemon, name: str, real: str) -> None:
        self.missed = False
        self._daemon = daemon
        self.name = name
        self._real = real if real != name else ""
        self._order = asyncio.Lock()
        self._shown: set[str] = set()
        self._seen: dict[str, Offer] = {}
        self._roster = ""
        self._acknowledging: asyncio.Task[None] | None = None

    async def offer(self, origin: Origin = Origin.USER) -> Offer | None:
        """Return what is to be shown now, None for nothing; within `OFFER_SECONDS`. Each offer is to be settled."""
        self.missed = False
        try:
            async with asyncio.timeout(OFFER_SECONDS), self._order:
                await self._catch_up(OFFER_SECONDS)
                turn = await self._daemon.call(
                    "begin_turn", self.name, OFFER_SECONDS, door=DOOR, turn_id=secrets.token_hex(8), origin=origin
                )
            return self._offered(turn)
        except (DaemonError, TimeoutError) as error:
            self.missed = True
            self._daemon.failed(error)
        except Rejected as error:
            self._daemon.failed(error)
        except Exception:
            # What we have to say never breaks a prompt.
            log.exception("the block of a turn could not be made")
        return None

    def settle(self, offer: Offer, *, seen: bool) -> None:
        """Say what became of an offer: it was shown to the agent's model, or it was not."""
        if not seen:
            self._shown.difference_update(offer.nudges)
            return
        self._roster = offer.roster
        if offer.nudges:
            self._seen[offer.token] = offer
            if self._acknowledging is None or self._acknowledging.done():
                self._acknowledging = asyncio.create_task(self._acknowledge(), name="acp-commit")

    async def close(self) -> None:
        """Acknowledge what was seen if that can be done now, and nothing more. Idempotent."""
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            await asyncio.gather(self._acknowledging, return_exceptions=True)
        await self.flush()

    async def _acknowledge(self) -> None:
        """Go on until all is acknowledged that was seen: what is not, other doors would tell again in the end."""
        pause = FIRST_PAUSE
        while True:
            await self.flush()
            if not self._seen:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def flush(self) -> None:
        """Acknowledge what was seen; what cannot be acknowledged now is tried again, and not shown meanwhile."""
        if not (self._seen or self._real) or not self._daemon.there:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS), self._order:
                await self._catch_up(COMMIT_SECONDS)
        except (DaemonError, Rejected, TimeoutError) as error:
            self._daemon.failed(error)

    async def _catch_up(self, seconds: float) -> None:
        """Have the daemon know what it has to know before a turn: the session's real name, and what was seen."""
        if self._real:
            try:
                await self._daemon.call("alias", None, seconds, parent=self._real, alias=self.name)
            except Rejected as error:
                log.warning("the session keeps the name %s: %s", self.name, error)
            self._real = ""
        for token, offer in list(self._seen.items()):
            only = None if offer.whole else list(offer.nudges)
            try:
                await self._daemon.call("commit_turn", None, seconds, token=token, only=only)
            except Rejected as error:
                log.warning("a turn could not be acknowledged: %s", error)
            del self._seen[token]
            self._shown.difference_update(offer.nudges)

    def _offered(self, turn: dict[str, Any]) -> Offer | None:
        text, nudges = str(turn["text"]), tuple(map(str, turn["nudges"]))
        new = tuple(each for each in nudges if each not in self._shown)
        block = parse_block(text)
        if block is not None and len(block.nudges) == len(nudges):
            kept = tuple(line for line, each in zip(block.nudges, nudges, strict=True) if each in new)
            text, roster = render(Block(block.lines, kept, block.more)), render(Block(block.lines, (), block.more))
        else:
            roster = text
        if not text or (not new and roster == self._roster):
            return None
        self._shown.update(new)
        return Offer(str(turn["token"]), text, new, roster, whole=len(new) == len(nudges))
