"""A manager's hold on the gateway of its store: found or started at the first need, and again whenever it is gone.

`trouble` says why there was none at the last need, empty where there was one.

Promises: an account that was opened is opened again by a gateway that had to be started anew, until it is released; a
gateway that hangs is noticed, ended and replaced while an account is open. A manager that a later one replaced starts
nothing and opens nothing any more.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from acp_runtime.clock import SystemClock
from acp_runtime.detached import wait_for_end
from acp_runtime.gateway.account import Account
from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.place import GatewayPlace
from acp_runtime.manager.gateway_finder import END_SECONDS, GatewayFinder
from acp_runtime.manager.gateway_watch import GatewayWatch, Standing
from acp_runtime.manager.launcher import Action, Judgement, Kind, Log
from acp_runtime.session.backoff import Backoff

__all__ = ["GatewayLink"]

log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 5.0
GONE: Final = {"gateway_unreachable", "gateway_ending"}
FINAL: Final = {"epoch_refused", "store_refused"}
Made = Callable[[], Account]
Settled = Callable[[], Awaitable[None]]
Kept = tuple[Made, Settled]


async def _at_once() -> None:
    """Return at once: there is nothing to wait for."""


class GatewayLink:
    """See the module. Owner: the launcher; `close` ends it, and the gateway with it when that has no account."""

    def __init__(
        self, place: GatewayPlace, epoch: int, ttl: float, environ: Mapping[str, str], watch: GatewayWatch | None = None
    ) -> None:
        self.place = place
        self.trouble = ""
        self._watch = watch or GatewayWatch(SystemClock())
        self._finder = GatewayFinder(place, epoch, ttl, environ, self._watch.clock)
        self._turn = asyncio.Lock()
        self._client: GatewayClient | None = None
        self._accounts: dict[str, Kept] = {}
        self._keeping: asyncio.Task[None] | None = None

    async def open(self, made: Made, settled: Settled = _at_once) -> None:
        """Have an account served, and go on having it served until it is released; `made` gives it as it is by then.

        Each time `settled` is waited for first: what an earlier gateway let through counts against its bounds.
        Raises GatewayError with the gateway's own reason, or `gateway_unreachable`.
        """
        for last in (False, True):
            client = await self._reached()
            await settled()
            account = made()
            try:
                await client.ask("open", **account.message())
                break
            except GatewayError as error:
                if last or error.kind not in GONE:  # one that goes away in between is followed by another
                    raise
        self._accounts[account.subagent] = made, settled
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name="gateway")

    async def refresh(self, subagent: str) -> None:
        """Have the account of a subagent served as it is by now. Raises GatewayError, also while it is not open yet."""
        if (found := self._accounts.get(subagent)) is None:
            raise GatewayError("gateway_unreachable", f"The gateway has no account of {subagent} yet.")
        made, settled = found
        client = await self._reached()
        await settled()
        await client.ask("open", **made().message())

    def release(self, subagent: str) -> None:
        """Leave the account of a subagent to the gateway and to the next manager. Idempotent."""
        self._accounts.pop(subagent, None)

    async def close_account(self, subagent: str, attempt: int) -> None:
        """End the account of this attempt or an earlier one, if a gateway has one. Raises nothing."""
        self.release(subagent)
        if self._client is None and not await self._finder.lives():
            return
        try:
            client = await self._reached()
            await client.ask("close", CLOSE_SECONDS, subagent=subagent, attempt=attempt)
        except GatewayError as error:
            log.warning("the account of %s could not be closed: %s", subagent, error)

    async def prune(self, log_of: Log, *, dry_run: bool) -> list[Judgement]:
        """Close the accounts of attempts that do not live. Raises nothing: what cannot be asked has none to close."""
        if not await self._finder.lives():
            return []
        try:
            client = await self._reached()
            accounts = {str(each["subagent"]): int(each["attempt"]) for each in await client.ask("list")}
        except GatewayError as error:
            log.warning("the accounts of the gateway cannot be looked at: %s", error)
            return []
        standings = await log_of(frozenset(accounts))
        found = []
        for subagent, attempt in accounts.items():
            standing = standings.get(subagent)
            lives = standing is not None and standing.attempt == attempt
            if not lives and not dry_run:
                await self.close_account(subagent, attempt)
            action = Action.KEEP if lives else Action.REMOVE if dry_run else Action.REMOVED
            why = f"attempt {attempt} of its subagent {subagent} {'lives' if lives else 'does not live'}"
            found.append(Judgement(Kind.GATEWAY, f"account {subagent}", subagent, action, why))
        return found

    async def close(self) -> None:
        """Let go of the gateway; one that has no account any more is ended. Raises nothing, and is idempotent."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if await self._finder.lives():
            with contextlib.suppress(GatewayError, OSError):
                client = await self._reached()
                if not await client.ask("list", CLOSE_SECONDS):
                    await client.ask("end", CLOSE_SECONDS, grace=0)
                    await asyncio.to_thread(wait_for_end, int(client.hello["pid"]), END_SECONDS)
        if self._client is not None:
            await self._client.close()
            self._client = None
        if not await self._finder.lives():
            with contextlib.suppress(OSError):  # of one that was killed
                await asyncio.to_thread(self.place.socket.unlink)

    async def _keep(self) -> None:
        """Open all accounts again whenever the gateway has gone, and replace one that is there and does not answer."""
        backoff = Backoff()
        while True:
            try:
                client = await self._reached()
                await self._stay(client)
                backoff = Backoff()
            except GatewayError as error:
                if error.kind in FINAL:
                    log.warning("the gateway is another manager's: %s", error)
                    return
                log.warning("the gateway cannot be reached: %s", error)
                await backoff.pause()
            except Exception:
                log.exception("the gateway could not be looked after; it is tried again")
                await backoff.pause()

    async def _stay(self, client: GatewayClient) -> None:
        """Have a gateway serve all accounts until it is of no use; one that cannot be served is tried now and then."""
        shut = await self._open_again(client, self._accounts)
        while (standing := await self._watch.look(client)) is Standing.GOOD:
            shut = await self._open_again(client, shut)
        if standing is Standing.SILENT:
            pid = int(client.hello["pid"])
            log.warning("the gateway (process %d) does not answer any more; it is ended", pid)
            await self._finder.end(pid)
            await client.close()
        log.warning("the gateway has gone; it is started again")

    async def _open_again(self, client: GatewayClient, accounts: Mapping[str, Kept]) -> Mapping[str, Kept]:
        """Return those of the accounts that could not be opened. Raises GatewayError when none can."""
        shut = {}
        for subagent, kept in list(accounts.items()):
            made, settled = kept
            await settled()
            if self._accounts.get(subagent) is not kept:
                continue
            try:
                await client.ask("open", **made().message())
            except GatewayError as error:
                if client.lost.is_set() or error.kind in FINAL:
                    raise
                log.warning("the account of %s could not be opened again: %s", subagent, error)
                shut[subagent] = kept
        return shut

    async def _reached(self) -> GatewayClient:
        """Return a connection to a gateway of this version. Raises GatewayError."""
        async with self._turn:
            if self._client is None or self._client.lost.is_set():
                if self._client is not None:
                    await self._client.close()
                self._client = None
                try:
                    self._client = await self._finder.find()
                except GatewayError as error:
                    self.trouble = "" if error.kind in FINAL else str(error)
                    raise
                self.trouble = ""
            return self._client
