"""A manager's hold on the gateway of its store: found or started at the first need, and again whenever it is gone.

Promises: an account that was opened is opened again by a gateway that had to be started anew, until it is released;
a gateway of another version is asked to end, and the next one is started; the gateway gets none of this process's
variables but those in `PASSED_ON`. A manager that a later one replaced starts nothing and opens nothing any more.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from acp_runtime import __version__
from acp_runtime.detached import wait_for_end
from acp_runtime.gateway.account import Account
from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.place import GatewayPlace, Holder
from acp_runtime.manager.launcher import Action, Judgement, Kind, Log
from acp_runtime.session.backoff import Backoff

__all__ = ["GatewayLink"]

log = logging.getLogger(__name__)

PASSED_ON: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONWARNINGS", "TZ")
START_SECONDS: Final = 30.0
HAND_OVER_SECONDS: Final = 20.0
END_SECONDS: Final = 10.0
TERM_SECONDS: Final = 4.0
STARTS: Final = 3
LOOKS, LOOK_SECONDS = 100, 0.1
CLOSE_SECONDS: Final = 5.0
GONE: Final = {"gateway_unreachable", "gateway_ending"}
FINAL: Final = {"epoch_refused", "store_refused"}


class GatewayLink:
    """See the module. Owner: the launcher; `close` ends it, and the gateway with it when that has no account."""

    def __init__(self, place: GatewayPlace, epoch: int, ttl: float, environ: Mapping[str, str]) -> None:
        self._place = place
        self._epoch = epoch
        self._ttl = ttl
        self._environ = {name: environ[name] for name in PASSED_ON if name in environ}
        self._turn = asyncio.Lock()
        self._client: GatewayClient | None = None
        self._accounts: dict[str, Callable[[], Account]] = {}
        self._keeping: asyncio.Task[None] | None = None

    async def open(self, made: Callable[[], Account]) -> None:
        """Have an account served, and go on having it served until it is released; `made` gives it as it is by then.

        Raises GatewayError with the gateway's own reason, or `gateway_unreachable`.
        """
        account = made()
        for last in (False, True):
            client = await self._reached()
            try:
                await client.ask("open", **account.message())
                break
            except GatewayError as error:
                if last or error.kind not in GONE:  # one that goes away in between is followed by another
                    raise
        self._accounts[account.subagent] = made
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name="gateway")

    async def refresh(self, subagent: str) -> None:
        """Have the account of a subagent served as it is by now. Raises GatewayError, also while it is not open yet."""
        if (made := self._accounts.get(subagent)) is None:
            raise GatewayError("gateway_unreachable", f"The gateway has no account of {subagent} yet.")
        client = await self._reached()
        await client.ask("open", **made().message())

    def release(self, subagent: str) -> None:
        """Leave the account of a subagent to the gateway and to the next manager. Idempotent."""
        self._accounts.pop(subagent, None)

    async def close_account(self, subagent: str, attempt: int) -> None:
        """End the account of this attempt or an earlier one, if a gateway has one. Raises nothing."""
        self.release(subagent)
        if self._client is None and not await self._lives():
            return
        try:
            client = await self._reached()
            await client.ask("close", CLOSE_SECONDS, subagent=subagent, attempt=attempt)
        except GatewayError as error:
            log.warning("the account of %s could not be closed: %s", subagent, error)

    async def prune(self, log_of: Log, *, dry_run: bool) -> list[Judgement]:
        """Close the accounts of attempts that do not live. Raises nothing: what cannot be asked has none to close."""
        if not await self._lives():
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
        if await self._lives():
            with contextlib.suppress(GatewayError, OSError):
                client = await self._reached()
                if not await client.ask("list", CLOSE_SECONDS):
                    await client.ask("end", CLOSE_SECONDS, grace=0)
                    await asyncio.to_thread(wait_for_end, int(client.hello["pid"]), END_SECONDS)
        if self._client is not None:
            await self._client.close()
            self._client = None
        if not await self._lives():
            with contextlib.suppress(OSError):  # of one that was killed
                await asyncio.to_thread(self._place.socket.unlink)

    async def _keep(self) -> None:
        """Open all accounts again whenever the gateway has gone."""
        backoff = Backoff()
        while True:
            try:
                client = await self._reached()
                await self._open_again(client)
                backoff = Backoff()
                await client.lost.wait()
                log.warning("the gateway has gone; it is started again")
            except GatewayError as error:
                if error.kind in FINAL:
                    log.warning("the gateway is another manager's: %s", error)
                    return
                log.warning("the gateway cannot be reached: %s", error)
                await backoff.pause()
            except Exception:
                log.exception("the gateway could not be looked after; it is tried again")
                await backoff.pause()

    async def _open_again(self, client: GatewayClient) -> None:
        for subagent, made in list(self._accounts.items()):
            if self._accounts.get(subagent) is not made:
                continue
            try:
                await client.ask("open", **made().message())
            except GatewayError as error:
                if client.lost.is_set() or error.kind in FINAL:
                    raise
                log.warning("the account of %s could not be opened again: %s", subagent, error)

    # ---- finding and starting

    async def _reached(self) -> GatewayClient:
        """Return a connection to a gateway of this version. Raises GatewayError."""
        async with self._turn:
            if self._client is None or self._client.lost.is_set():
                if self._client is not None:
                    await self._client.close()
                self._client = None
                self._client = await self._find()
            return self._client

    async def _lives(self) -> bool:
        return await asyncio.to_thread(lambda: self._place.held)

    async def _find(self) -> GatewayClient:
        """Look until there is one that answers; one that has just been started says soon where it listens."""
        starts = looks = 0
        while looks < 2 * LOOKS:
            holder = await asyncio.to_thread(self._place.holder)
            if holder is not None and (client := await self._taken(holder)) is not None:
                return client
            if holder is None and not await self._lives():
                starts += 1
                if starts > STARTS:
                    break
                await self._start()
                continue
            looks += 1
            if holder is not None and looks == LOOKS:
                log.warning("the gateway (process %d) cannot be reached; it is ended", holder.pid)
                await asyncio.to_thread(_ended, holder)
            await asyncio.sleep(LOOK_SECONDS)
        raise GatewayError("gateway_unreachable", f"The gateway of store {self._place.store} does not answer.")

    async def _taken(self, holder: Holder) -> GatewayClient | None:
        """Return a connection to this gateway; None when it cannot be had, or not to one of this version."""
        socket = Path(holder.socket)
        try:
            client = await GatewayClient.connect(socket, self._place.store, epoch=self._epoch, ttl=self._ttl)
        except GatewayError as error:
            if error.kind == "gateway_silent":
                log.warning("the gateway (process %d) does not answer; it is ended", holder.pid)
                await asyncio.to_thread(_ended, holder)
            elif error.kind != "gateway_unreachable":
                raise
            return None
        theirs = client.hello.get("version")
        if theirs == __version__:
            return client
        log.info("the gateway is version %s; it hands over", theirs)
        with contextlib.suppress(GatewayError):
            await client.ask("end", grace=round(HAND_OVER_SECONDS))
        await client.close()
        if not await asyncio.to_thread(wait_for_end, holder.pid, HAND_OVER_SECONDS + END_SECONDS):
            await asyncio.to_thread(_ended, holder)
        return None

    async def _start(self) -> None:
        """Start a gateway; one that somebody else started meanwhile is as good. Raises GatewayError."""
        place = self._place
        argv = ("-P", "-m", "acp_runtime.gateway", place.store, str(place.folder), str(place.socket))
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *argv,
                env=self._environ,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise GatewayError("gateway_unreachable", f"{sys.executable} cannot be run: {error.strerror}.") from error
        try:
            async with asyncio.timeout(START_SECONDS):
                _, said = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            words = said.decode(errors="replace").strip()[-500:] or f"it exited with code {process.returncode}"
            raise GatewayError("gateway_unreachable", f"The gateway could not be started: {words}")


def _ended(holder: Holder) -> None:
    """End the process that holds the lock, if it is still that one."""
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, END_SECONDS)):
        try:
            process = os.pidfd_open(holder.pid)
        except OSError:
            return
        try:
            if not holder.lives:
                return
            signal.pidfd_send_signal(process, number)
        except OSError:
            return
        finally:
            os.close(process)
        if wait_for_end(holder.pid, seconds):
            return
