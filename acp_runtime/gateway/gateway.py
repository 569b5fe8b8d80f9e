"""The gateway of one store: its accounts, who may change them, and its end.

Promises: an account that is opened again as it is changes nothing; what an earlier manager than the newest asks for is
refused; it ends when it is told to, when it has no account and no manager, or when no manager came for long. What is
under way at the end is waited for as long as whoever ends it said, and then cut: never ended in order.
"""

import asyncio
import contextlib
import logging
from typing import Final
from weakref import WeakValueDictionary

from acp_runtime.clock import Clock
from acp_runtime.core.errors import Rejected
from acp_runtime.gateway.account import Account, keyed
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.lines import Json
from acp_runtime.gateway.served import Means, Served

__all__ = ["Gateway"]

log = logging.getLogger(__name__)

ACCOUNTS: Final = 1_000
WATCH_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.05


class Gateway:
    """See the module. `end` may be called from a signal handler; the first call counts."""

    def __init__(self, means: Means, clock: Clock) -> None:
        self.epoch = 0
        self._ttl = IDLE_SECONDS
        self.ending: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._means = means
        self._clock = clock
        self._served: dict[str, Served] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._managers: set[object] = set()
        self._alone_since = clock.now()
        self._since = clock.wall()

    # ---- managers

    def join(self, manager: object, epoch: int, ttl: float) -> None:
        """Take a connection of a manager of this epoch. Raises GatewayError (`epoch_refused`)."""
        self.check(epoch)
        if epoch > self.epoch:
            self._managers.clear()  # they are of a manager that was replaced
        self.epoch, self._ttl = epoch, ttl
        self._managers.add(manager)

    def leave(self, manager: object) -> None:
        """Forget a connection. Idempotent."""
        if manager in self._managers:
            self._managers.discard(manager)
            self._alone_since = self._clock.now()

    def check(self, epoch: int) -> None:
        """Raise GatewayError (`epoch_refused`) for a manager that was replaced."""
        if epoch < self.epoch:
            sentence = f"A later manager (epoch {self.epoch}) has the gateway; this one (epoch {epoch}) was replaced."
            raise GatewayError("epoch_refused", sentence)

    @property
    def alone_seconds(self) -> float | None:
        """For how long it has had no manager; None while it has one."""
        return None if self._managers else (self._clock.now() - self._alone_since) / 1000

    @property
    def alone_bound(self) -> float:
        """For how long it goes on without a manager."""
        return self._ttl if self._served else IDLE_SECONDS

    # ---- accounts

    async def open(self, account: Account, epoch: int) -> None:
        """Serve an account; one that is served as it is goes on as it is, also what is under way.

        Raises GatewayError (`epoch_refused`, `attempt_over`, `too_many_accounts`), and as `Served.open` does.
        """
        async with self._turn(account.subagent):
            self._check_open(epoch)
            served = self._served.get(account.subagent)
            if served is not None and served.account.attempt > account.attempt:
                newer = served.account.attempt
                raise GatewayError("attempt_over", f"Attempt {newer} of {account.subagent} has an account already.")
            if served is not None:
                account = keyed(account, served.account)
            if served is not None and _in_place(served.account, account):
                await served.change(account, epoch)
                return
            if served is None and len(self._served) >= ACCOUNTS:
                raise GatewayError("too_many_accounts", f"The gateway has {ACCOUNTS} accounts; it takes no more.")
            if served is not None:
                await self._close(served)
            served = Served(account, self._means)
            await served.open(epoch)
            self._served[account.subagent] = served
            try:
                self._check_open(epoch)  # that may have taken long
            except GatewayError:
                await self._close(served)
                raise

    def _check_open(self, epoch: int) -> None:
        self.check(epoch)
        if self.ending.done():
            raise GatewayError("gateway_ending", "The gateway is about to end; ask the next one.")

    async def close(self, subagent: str, attempt: int, epoch: int) -> None:
        """End an account of this attempt or an earlier one, with what is under way. Raises GatewayError; idempotent."""
        async with self._turn(subagent):
            self.check(epoch)
            served = self._served.get(subagent)
            if served is not None and served.account.attempt <= attempt:
                await self._close(served)

    def accounts(self) -> list[Json]:
        """Return what others may know of each."""
        return [each.status() for each in self._served.values()]

    def about(self) -> Json:
        """Return since when it runs, what is open and under way, and when its newest record was written."""
        last = self._means.ledger.written
        return {
            "since": self._since.isoformat(timespec="seconds"),
            "accounts": len(self._served),
            "running": sum(each.running for each in self._served.values()),
            "last_record": None if last is None else last.isoformat(timespec="milliseconds"),
        }

    async def _close(self, served: Served) -> None:
        del self._served[served.account.subagent]
        await served.close()

    def _turn(self, subagent: str) -> asyncio.Lock:
        """Return what is held while the account of a subagent changes."""
        return self._turns.setdefault(subagent, asyncio.Lock())

    # ---- the end

    def end(self, grace: float) -> None:
        """Have it end; what is under way has so many seconds."""
        if not self.ending.done():
            self.ending.set_result(grace)

    async def watch(self) -> None:
        """See that it is found, and that it ends when nobody wants it."""
        while True:
            await self._clock.until(self._clock.now() + round(WATCH_SECONDS * 1000))
            for each in list(self._served.values()):
                with contextlib.suppress(Rejected):  # its folder went too: then nobody could come to it
                    await each.stay_found()
            alone = self.alone_seconds
            if alone is not None and alone >= self.alone_bound:
                log.info("no manager has come for %.0f s, %d accounts are open", alone, len(self._served))
                self.end(0)

    async def finish(self, grace: float) -> None:
        """Close all accounts once nothing is under way, or the grace is over."""
        for each in self._served.values():
            each.withdraw()
        until = self._clock.now() + round(grace * 1000)
        while any(each.running for each in self._served.values()) and self._clock.now() < until:
            await self._clock.until(self._clock.now() + round(LOOK_SECONDS * 1000))
        await asyncio.gather(*(each.close() for each in self._served.values()))
        self._served.clear()


def _in_place(before: Account, after: Account) -> bool:
    ways = ((before.model, after.model), (before.egress, after.egress))
    moved = any(was and now and (was.port, was.socket) != (now.port, now.socket) for was, now in ways)
    return not moved and (before.attempt, before.gid) == (after.attempt, after.gid)
