"""How a manager finds the gateway of its store, starts it where there is none, and ends one that is of no use.

Promises: of many that start one at once one comes out; a gateway of another version is asked to end first; only the
process that holds the lock of this store is ever ended, by its id and the moment of its start. A gateway gets none of
this process's variables but those in `PASSED_ON`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from acp_runtime import __version__
from acp_runtime.clock import Clock
from acp_runtime.detached import wait_for_end
from acp_runtime.gateway.client import CONNECT_SECONDS, HELLO_SECONDS, GatewayClient
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.place import GatewayPlace, Holder

__all__ = ["PASSED_ON", "GatewayFinder"]

log = logging.getLogger(__name__)

PASSED_ON: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONWARNINGS", "TZ")
START_SECONDS: Final = 30.0
HAND_OVER_SECONDS: Final = 20.0
END_SECONDS: Final = 10.0
TERM_SECONDS: Final = 4.0
LONGEST_HELLO: Final = round(1000 * (CONNECT_SECONDS + HELLO_SECONDS + 2))  # milliseconds
STARTS: Final = 3
LOOKS, LOOK_SECONDS = 100, 0.1
IN_ORDER: Final = ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, END_SECONDS))
AT_ONCE: Final = ((signal.SIGKILL, END_SECONDS),)  # it hangs: nothing in it takes a signal


class GatewayFinder:
    """See the module. Holds nothing: a connection that it returns is its caller's."""

    def __init__(self, place: GatewayPlace, epoch: int, ttl: float, environ: Mapping[str, str], clock: Clock) -> None:
        self._place = place
        self._epoch = epoch
        self._ttl = ttl
        self._environ = {name: environ[name] for name in PASSED_ON if name in environ}
        self._clock = clock

    async def lives(self) -> bool:
        """Return whether a gateway has the store's lock."""
        return await asyncio.to_thread(lambda: self._place.held)

    async def end(self, pid: int) -> None:
        """End the gateway of this id at once, if it still is the one of this store. Raises nothing."""
        holder = await asyncio.to_thread(self._place.holder)
        if holder is not None and holder.pid == pid:
            await asyncio.to_thread(_end, holder, AT_ONCE)

    async def find(self) -> GatewayClient:
        """Look until there is one that answers; one that has just been started says soon where it listens.

        Raises GatewayError.
        """
        starts = looks = 0
        while looks < 2 * LOOKS:
            holder = await asyncio.to_thread(self._place.holder)
            if holder is not None and (client := await self._taken(holder)) is not None:
                return client
            if holder is None and not await self.lives():
                starts += 1
                if starts > STARTS:
                    break
                await self._start()
                continue
            looks += 1
            if holder is not None and looks == LOOKS:
                log.warning("the gateway (process %d) cannot be reached; it is ended", holder.pid)
                await asyncio.to_thread(_end, holder, IN_ORDER)
            await asyncio.sleep(LOOK_SECONDS)
        raise GatewayError("gateway_unreachable", f"The gateway of store {self._place.store} does not answer.")

    async def _taken(self, holder: Holder) -> GatewayClient | None:
        """Return a connection to this gateway; None when it cannot be had, or not to one of this version."""
        socket, began = Path(holder.socket), self._clock.now()
        try:
            client = await GatewayClient.connect(socket, self._place.store, epoch=self._epoch, ttl=self._ttl)
        except GatewayError as error:
            if error.kind == "gateway_silent":
                # This process may have been stopped meanwhile, and the answer be there unread: then it asks again.
                if self._clock.now() - began <= LONGEST_HELLO:
                    log.warning("the gateway (process %d) does not answer; it is ended", holder.pid)
                    await asyncio.to_thread(_end, holder, AT_ONCE)
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
            await asyncio.to_thread(_end, holder, IN_ORDER)
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
        except TimeoutError as error:
            words = f"The gateway could not be started: it has not said within {START_SECONDS:g} s that it listens."
            raise GatewayError("gateway_unreachable", words) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            words = said.decode(errors="replace").strip()[-500:] or f"it exited with code {process.returncode}"
            raise GatewayError("gateway_unreachable", f"The gateway could not be started: {words}")


def _end(holder: Holder, how: Iterable[tuple[signal.Signals, float]]) -> None:
    """End the process that holds the lock, if it is still that one."""
    for number, seconds in how:
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
