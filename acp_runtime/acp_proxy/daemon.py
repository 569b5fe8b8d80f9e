"""The daemon as the proxy asks it: never started for it, never waited for longer than a call says.

A proxy runs beside its editor for as long as that is open, so it stays light: plain JSON values.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlencode

from acp_runtime.api.errors import DaemonError, told
from acp_runtime.api.exchange import Way
from acp_runtime.api.unix_client import CALL_SECONDS, OK, caller_words
from acp_runtime.api.unix_socket import usual_socket
from acp_runtime.core.errors import Rejected

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0


class Daemon:
    """The daemon of this user, which may be away."""

    def __init__(self) -> None:
        self._socket = usual_socket()
        self._way = Way(None, start=False)
        self._told = ""

    @property
    def there(self) -> bool:
        """Whether there is a socket to ask at, as far as this user may see it."""
        return os.path.exists(self._socket)  # noqa: PTH110 - the other one raises where it may not look

    async def call(self, method: str, caller: str | None, seconds: float, **arguments: Any) -> Any:
        """Have a method of the facade called. Raises `Rejected` and `DaemonError`, at the latest after `seconds`."""
        who = {} if caller is None else {"caller": caller_words(caller)}
        body = json.dumps(who | arguments).encode()
        answer = await self._way.ask("POST", f"/v1/{method}", body, seconds)
        if answer.status != OK:
            raise told(answer.status, answer.json())
        return answer.json()

    def failed(self, error: Exception) -> None:
        """Tell the log once that something could not be had; the same again is not told."""
        why = str(error) or "the daemon did not answer in time"
        if self._told != why:
            self._told = why
            log.warning("background subagents are not told of: %s", why)

    async def wakeups(self, parent: str) -> AsyncGenerator[frozenset[str]]:
        """Yield the nudges of a parent that nobody shows, each time that there are new ones, for ever."""
        pause = FIRST_PAUSE
        while True:
            if self.there:
                try:
                    way = self._way.follow(f"/v1/wakeups?{urlencode({'parent': parent})}")
                    async with aclosing(way) as lines:
                        async for line in lines:
                            pause = FIRST_PAUSE
                            yield _nudges(json.loads(line))
                except (Rejected, DaemonError, ValueError, KeyError) as error:
                    self.failed(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def changes(self, pause: float) -> AsyncGenerator[None]:
        """Yield once, and again when the log has grown since the last time, at most every `pause` seconds, for ever."""
        tick, away = -1, FIRST_PAUSE
        while True:
            if self.there:
                try:
                    body = json.dumps({"tick": tick}).encode()
                    answer = await self._way.ask("POST", "/v1/changed", body, CALL_SECONDS)
                    if answer.status != OK:
                        raise told(answer.status, answer.json())
                    if answer.tick != tick:
                        tick, away = answer.tick, FIRST_PAUSE
                        yield
                    await asyncio.sleep(pause)
                    continue
                except (Rejected, DaemonError) as error:
                    tick = -1
                    self.failed(error)
            await asyncio.sleep(away)
            away = min(away * 2, LONGEST_PAUSE)


def _nudges(said: dict[str, Any]) -> frozenset[str]:
    if "status" in said:
        raise told(int(said["status"]), said)
    return frozenset(map(str, said["nudges"]))
