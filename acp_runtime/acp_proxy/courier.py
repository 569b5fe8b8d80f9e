"""Nudges that come while nobody prompts: put into the running turn where the agent takes that, or a turn of our own.

Without either they wait for the editor's next prompt. A turn of ours is begun only where it was asked for (`--wake`),
and gives way to the editor's prompt at once.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

from acp_runtime.acp_proxy.daemon import Daemon
from acp_runtime.acp_proxy.ledger import Ledger, Offer
from acp_runtime.acp_proxy.own import Message, OwnRequests
from acp_runtime.core.turns import Origin
from acp_runtime.wire import acp
from acp_runtime.wire.acp import AgentMethod, StopReason

STEER_SECONDS: Final = 30.0
# After which news is offered again that the daemon did not give in time: it says only once that there is some.
AGAIN_SECONDS: Final = 2.0
# What agents need to end a cancelled turn; one that needs longer gets the editor's prompt all the same.
YIELD_SECONDS: Final = 10.0
NEWS: Final = "A background subagent has news for the agent"


class Courier:
    """One session's news. `running` counts its turns, those of the editor and ours; `ended` those that are over."""

    def __init__(
        self,
        session: str,
        daemon: Daemon,
        ledger: Ledger,
        agent: OwnRequests,
        *,
        steering: bool,
        wake: bool,
        announce: Callable[[str], None],
    ) -> None:
        self.ledger = ledger
        self.ended = 0
        self._session = session
        self._daemon = daemon
        self._agent = agent
        self._steering = steering
        self._wake = wake
        self._announce = announce
        self._running = 0
        self._steerable = True
        self._due: set[str] = set()
        self._news = asyncio.Event()
        self._own_turn: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str) -> None:
        """Listen for news of the parent `name`. Idempotent."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._listen(name)), asyncio.create_task(self._deliver_for_ever())]

    def stop(self) -> None:
        """Deliver nothing more. Idempotent."""
        for each in self._all:
            each.cancel()

    async def close(self) -> None:
        """Deliver nothing more, acknowledge what was seen, and see that all has ended. Idempotent."""
        self.stop()
        await asyncio.gather(*self._all, return_exceptions=True)
        await self.ledger.close()

    @property
    def _all(self) -> "list[asyncio.Task[None]]":
        return [each for each in (*self._tasks, self._own_turn) if each is not None]

    # ---- the editor's turns

    @property
    def busy(self) -> bool:
        """Whether a turn runs."""
        return self._running > 0

    def turn_begins(self) -> None:
        """Tell that the editor prompts: nothing of ours is begun from now on."""
        self._running += 1
        self._steerable = True

    def turn_ends(self, offer: Offer | None, *, seen: bool) -> None:
        """Tell that the editor's prompt was answered, and whether its model has seen what was offered with it."""
        self._running -= 1
        self.ended += 1
        if offer is not None:
            self.ledger.settle(offer, seen=seen)
        self._news.set()

    @property
    def yielding(self) -> bool:
        """Whether a turn of ours has to give way first."""
        return self._own_turn is not None

    def cancel(self) -> None:
        """Cancel the turn of our own."""
        self._agent.notify(AgentMethod.SESSION_CANCEL, acp.session_cancel(self._session))

    async def give_way(self) -> None:
        """Wait for the end of a turn of our own that was cancelled: what it told is told again."""
        if (turn := self._own_turn) is not None:
            await asyncio.wait((turn,), timeout=YIELD_SECONDS)  # however it ends: a prompt waits for this
            turn.cancel()  # what an agent never ends holds up this one prompt, and no other
            await asyncio.wait((turn,))

    # ---- news

    async def _listen(self, name: str) -> None:
        async with aclosing(self._daemon.wakeups(name)) as told:
            async for nudges in told:
                self._due = set(nudges)
                self._news.set()

    async def _deliver_for_ever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.ledger.flush()
            if not self._due:
                continue
            if self._running:
                if self._steering and self._steerable:
                    await self._steer()
            elif self._wake:
                await self._begin_turn()

    async def _steer(self) -> None:
        """Put what is new into the running turn. Acknowledged only where the agent says that it went in."""
        offer = await self._take(Origin.ANSWER)
        if offer is None:
            return
        if not self._running:
            self._give_back(offer)
            return
        ident, answer = self._agent.ask(AgentMethod.SESSION_STEERING, acp.session_steering(self._session, offer.text))
        try:
            async with asyncio.timeout(STEER_SECONDS):
                outcome = acp.read_steering((await answer).get("result"))
        except TimeoutError:
            outcome = ""
        self._agent.forget(ident)
        if outcome == "injected":
            self.ledger.settle(offer, seen=True)
        else:
            self._steerable = False
            self._give_back(offer)

    async def _begin_turn(self) -> None:
        offer = await self._take(Origin.WAKE)
        if offer is None:
            return
        if self._running:
            self._give_back(offer)
            return
        self._announce(NEWS)
        self._running += 1
        self._steerable = True
        params = acp.session_prompt(self._session, offer.text)
        ident, answer = self._agent.ask(AgentMethod.SESSION_PROMPT, params)
        self._own_turn = asyncio.create_task(self._see_through(offer, ident, answer), name="acp-wake")

    async def _see_through(self, offer: Offer, ident: str, answer: "asyncio.Future[Message]") -> None:
        seen = False
        try:
            seen = was_seen(await answer) and acp.read_prompt(answer.result().get("result")) != StopReason.CANCELLED
        finally:
            self._agent.forget(ident)
            self._own_turn = None
            self.turn_ends(offer, seen=seen)

    async def _take(self, origin: Origin) -> Offer | None:
        """Return an offer that tells something new; of an unchanged or only changed roster nobody is told between."""
        due, self._due = self._due, set()  # what is added from here on may not be in the offer
        offer = await self.ledger.offer(origin)
        if self.ledger.missed:
            self._due |= due
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._news.set)
        if offer is not None and not offer.nudges:
            self.ledger.settle(offer, seen=False)
            return None
        return offer

    def _give_back(self, offer: Offer) -> None:
        self.ledger.settle(offer, seen=False)
        self._due.update(offer.nudges)
        self._news.set()


def was_seen(answer: dict[str, Any]) -> bool:
    """Return whether a prompt came before the model: agents keep nothing of one that failed or that they refused."""
    refused = acp.read_prompt(answer.get("result")) == StopReason.REFUSAL
    return answer.get("error") is None and not refused
