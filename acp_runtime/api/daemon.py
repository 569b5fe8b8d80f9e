"""The daemon: owns one store, answers on one socket, and ends when it is told to, replaced, or idle for long.

Promises: the socket is there only while the store is owned; a request that was taken is answered before the end; the
idle end comes only when no subagent is open and nobody is connected. A daemon that leaves its subagents to the next
owner ends like one that was killed, after its answers are out: what the next owner does then is the same.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NoReturn

from acp_runtime import __version__
from acp_runtime.api.loopback import Loopback
from acp_runtime.api.on_nudge import tell_person
from acp_runtime.api.server import Front, application
from acp_runtime.api.unix_socket import NAME, folder_word
from acp_runtime.api.web_server import ANSWER_SECONDS, OwnUser, WebServer
from acp_runtime.beside import beside
from acp_runtime.callers import OPERATOR
from acp_runtime.carrying.unix_listener import UnixListener
from acp_runtime.clock import Clock, SystemClock
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected, StoreError, StoreOwned, SubagentsError
from acp_runtime.manager.launcher import Launcher
from acp_runtime.service import Runtime
from acp_runtime.store.db import SCHEMA_VERSION
from acp_runtime.views import SubagentView

log = logging.getLogger(__name__)

RENEWALS: Final = 3  # within one lease
STOP_SECONDS: Final = 60.0
DAY_SECONDS: Final = 86_400.0
MAX_CONNECTIONS: Final = 1_000
STORE: Final = "store.db"


class Ending(Enum):
    """Why a daemon ends, and what becomes of its subagents."""

    STOP = auto()  # those that can be resumed are left to the next owner, the others are stopped
    HAND_OVER = auto()  # all are left
    REPLACED = auto()  # another owns the store already: all are its
    IDLE = auto()  # there are none


@dataclass(frozen=True, slots=True)
class Terms:
    """How a daemon is run. `idle_exit` in seconds, None for never; `supplant` replaces a stalled owner of the store."""

    idle_exit: float | None
    supplant: bool = False


class Daemon:
    """One daemon, from the ownership of its store to its end. `end` may be called from a signal handler."""

    def __init__(self, config: Config, launcher: Launcher, terms: Terms, clock: Clock | None = None) -> None:
        self._config = config
        self._launcher = launcher
        self._terms = terms
        self._clock = clock or SystemClock()
        self._ending: asyncio.Future[Ending] | None = None
        self._early: Ending | None = None
        self._told_to_reload = asyncio.Event()

    def end(self, ending: Ending) -> None:
        """Have the daemon end. The first call counts."""
        if self._ending is None:
            self._early = self._early or ending
        elif not self._ending.done():
            self._ending.set_result(ending)

    def reload(self) -> None:
        """Have the configuration read again; what came of it is logged."""
        self._told_to_reload.set()

    async def run(self, ready: Callable[[], None], leave: Callable[[], NoReturn]) -> None:
        """Own, serve, and end. `ready` is called once requests are taken; `leave` ends the process as it is.

        Raises `StoreError` and `Rejected` (socket_refused) when it cannot begin.
        """
        self._ending = asyncio.get_running_loop().create_future()
        if self._early is not None:
            self.end(self._early)
        async with AsyncExitStack() as stack:
            opened = Runtime.open(
                self._config.state_dir / STORE,
                launcher=self._launcher,
                config=self._config,
                clock=self._clock,
                progress=partial(log.info, "%s: %s"),
                supplant=self._terms.supplant,
            )
            runtime = await stack.enter_async_context(opened)
            await runtime.renew_lease(self._config.daemon.lease)
            ending = await self._serve(runtime, ready, self._ending)
            log.info("ends: %s", ending.name.lower())
            if await self._leaves(runtime, ending):
                leave()

    async def _serve(self, runtime: Runtime, ready: Callable[[], None], ending: asyncio.Future[Ending]) -> Ending:
        front = Front(runtime, _hello(runtime, self._launcher, self._config), lambda: self.end(Ending.HAND_OVER))
        listeners = [UnixListener(self._config.runtime_dir / NAME, None, take=self._terms.supplant)]
        server = WebServer(application(front), OwnUser, MAX_CONNECTIONS)
        loopback = Loopback(runtime, self._config, front)
        serving = asyncio.create_task(server.serve([listeners[0].socket]))
        watches: dict[str, Callable[[], Awaitable[None]]] = {
            "lease": partial(self._renew, runtime),
            "socket": partial(self._stay_found, server, listeners),
            "idle_exit": partial(self._watch_idle, runtime, front, lambda: server.guests + loopback.guests),
            "retention": partial(self._clean, runtime),
            "reload": partial(self._reload_when_told, runtime),
        }
        if self._config.on_nudge is not None:
            watches["on_nudge"] = partial(tell_person, runtime, self._config.on_nudge)
        if self._config.daemon.http is not None:
            watches["http"] = partial(loopback.serve, self._config.daemon.http, self._clock)
        try:
            async with beside(**watches):
                log.info("listens on %s for store %s, epoch %d", listeners[0].path, *runtime.ownership)
                ready()
                await asyncio.wait((ending, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for listener in listeners:
                listener.withdraw()
            front.closing.set()
            server.should_exit = True
            await asyncio.wait((serving,), timeout=2 * ANSWER_SECONDS)
            for listener in listeners:
                listener.close()
        return ending.result() if ending.done() else Ending.STOP

    async def _renew(self, runtime: Runtime) -> None:
        """Keep the lease. A disk that refuses is no reason to end: it is tried again until somebody else owns it."""
        while True:
            await self._clock.until(self._clock.now() + round(self._config.daemon.lease * 1000 / RENEWALS))
            try:
                await runtime.renew_lease(self._config.daemon.lease)
            except StoreOwned as error:
                log.warning("%s", error)
                self.end(Ending.REPLACED)
                return
            except StoreError as error:
                log.warning("the lease could not be renewed: %s", error)

    async def _reload_when_told(self, runtime: Runtime) -> None:
        while True:
            await self._told_to_reload.wait()
            self._told_to_reload.clear()
            try:
                found = await runtime.reload(OPERATOR)
            except (Rejected, OSError) as error:
                log.warning("the configuration was not read again: %s", error)
                continue
            log.info("the configuration was read again; subagents touched: %d", len(found.subagents))
            if found.restart:
                log.warning("only a new start of the daemon reads %s", ", ".join(found.restart))

    async def _stay_found(self, server: WebServer, listeners: list[UnixListener]) -> None:
        """Listen anew where somebody has removed the socket: nobody could reach the owner of the store otherwise."""
        told = ""
        while True:
            await self._clock.until(self._clock.now() + round(self._config.daemon.lease * 1000 / RENEWALS))
            if listeners[-1].found:
                continue
            try:
                listener = UnixListener(listeners[-1].path, None)
            except Rejected as error:
                if told != str(error):
                    told = str(error)
                    log.warning("the socket was removed: %s", error)
                continue
            listeners.append(listener)
            await server.listen(listener.socket)
            log.warning("the socket %s was removed, and is there again", listener.path)

    async def _clean(self, runtime: Runtime) -> None:
        """Once a day, delete the logs that have had their time."""
        days = self._config.daemon.retention_days
        while days is not None:
            try:
                pruned = await runtime.prune(OPERATOR, older_than=days * DAY_SECONDS)
                log.info("%d subagents that ended over %g days ago are deleted", len(pruned.subagents), days)
            except SubagentsError as error:
                log.warning("old logs could not be deleted: %s", error)
            await self._clock.until(self._clock.now() + round(DAY_SECONDS * 1000))

    async def _watch_idle(self, runtime: Runtime, front: Front, guests: Callable[[], int]) -> None:
        if self._terms.idle_exit is None:
            return
        calls = -1
        while True:
            await self._clock.until(self._clock.now() + round(self._terms.idle_exit * 1000))
            busy = front.calls != calls or guests() > 0
            try:
                if not busy and not await runtime.list_subagents(OPERATOR):
                    self.end(Ending.IDLE)
                    return
            except StoreError as error:
                log.warning("whether a subagent is open could not be read, and is looked for again: %s", error)
            calls = front.calls

    async def _leaves(self, runtime: Runtime, ending: Ending) -> bool:
        """Stop what is not to be left; return whether something is."""
        if ending is Ending.REPLACED:
            return True
        views = await runtime.list_subagents(OPERATOR)
        if ending is Ending.HAND_OVER:
            return bool(views)
        stopped = [self._stopped(runtime, view) for view in views if not view.keep]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*stopped)
        return any(view.keep for view in views)

    async def _stopped(self, runtime: Runtime, view: SubagentView) -> None:
        try:
            await runtime.stop(OPERATOR, view.id, reason="the daemon was stopped")
        except SubagentsError as error:
            log.warning("%s could not be stopped: %s", view.id, error)


def _hello(runtime: Runtime, launcher: Launcher, config: Config) -> dict[str, Any]:
    store, epoch = runtime.ownership
    return {
        "version": __version__,
        "schema": SCHEMA_VERSION,
        "pid": os.getpid(),
        "store": store,
        "epoch": epoch,
        "launcher": launcher.name,
        "folder": folder_word(config.state_dir),
        "configuration": str(config.file or ""),
    }
