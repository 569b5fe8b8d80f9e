"""Has subagents ask for logins that have expired and keys that are gone, and notices unasked when they are there again.

Promises that an agent which goes on asking fills no inbox; and that a login, or a file, is tried when it is first
waited for, and then only once it has changed, and what runs a program seldom and ever more so: by one task whatever
number of subagents wait for it.
"""

import asyncio
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import LoginExpired, LoginRenewed
from acp_runtime.core.request import Request, RequestKind
from acp_runtime.gateway.records import Expiry
from acp_runtime.keys import KeySource, key_source
from acp_runtime.manager.actor import Actor

__all__ = ["Logins"]

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 20.0  # where the vendor could not be asked, or a program has to run
LONGEST_SECONDS: Final = 320.0
_OF_THIS_PROCESS: Final = "env:"
ANEW: Final = " and start the manager again with it (`subagents serve --replace`)"
_FINAL: Final = frozenset(("login_expired", "key_missing", "bad_key_source"))


class Logins:
    """Of one store. `environ` says where logins are kept."""

    def __init__(self, actors: Callable[[], Iterable[Actor]], environ: Mapping[str, str]) -> None:
        self._actors = actors
        self._environ = environ
        self._tried: dict[str, tuple[object, float]] = {}  # by source: its stamp, and until when that counts
        self._pauses: dict[str, float] = {}  # by source: seconds to the next try
        self._asked: dict[str, object] = {}  # of each subagent: the delivery of a task that lacks it
        self._told: set[tuple[str, str]] = set()  # subagents and the requests that they need not keep open

    def expired(self, actor: Actor, expiry: Expiry) -> None:
        """Have a subagent ask for its key, once for each delivery of a task that lacks it."""
        state = actor.state
        task, key = state.active, state.order.model_key
        if task is None or task.logged_out or key is None:
            return
        delivery = (task.id, task.deliveries)
        if self._asked.get(state.id) != delivery:
            self._asked[state.id] = delivery
            anew = f"{ANEW}," if key.startswith(_OF_THIS_PROCESS) else ","
            why = f"{expiry.why.rstrip('.')}{anew} on {platform.node() or 'this machine'}"
            actor.tell(LoginExpired(expiry.attempt, why))

    async def watch(self) -> None:
        """Look at what is waited for, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            actors = tuple(self._actors())
            waiting = [(actor, each.id) for actor in actors for each in _open(actor)]
            sources = {actor.state.order.model_key or "" for actor, _ in waiting}
            self._forget({actor.state.id for actor in actors}, {(actor.state.id, each) for actor, each in waiting})
            self._tried = {text: tried for text, tried in self._tried.items() if text in sources}
            self._pauses = {text: pause for text, pause in self._pauses.items() if text in sources}
            for text in sources:
                if await self._is_there(text):
                    for actor, request in waiting:
                        if actor.state.order.model_key == text and (actor.state.id, request) not in self._told:
                            self._told.add((actor.state.id, request))
                            actor.tell(LoginRenewed(request))

    def _forget(self, living: set[str], waiting: set[tuple[str, str]]) -> None:
        self._asked = {each: delivery for each, delivery in self._asked.items() if each in living}
        self._told &= waiting

    async def _is_there(self, text: str) -> bool:
        """Tell whether there is a key that can be used; what was no use is tried again once it has changed."""
        now, stamp, runs = asyncio.get_running_loop().time(), None, False
        try:
            source: KeySource = key_source(text, self._environ)
            stamp, runs = source.stamp, source.runs
            # The gateway has run a program a moment ago, and believes what it found for as long.
            before, until = self._tried.setdefault(text, (stamp, now + AGAIN_SECONDS) if runs else (self, 0.0))
            if stamp == before and now < until:
                return False
            await source.read()
        except (Rejected, OSError) as error:
            final = isinstance(error, Rejected) and error.kind in _FINAL and not runs
            self._tried[text] = (stamp, float("inf") if final else now + self._pause(text))
            return False
        self._tried.pop(text, None)
        return True

    def _pause(self, text: str) -> float:
        """Return how long a source that was no use is left alone: each time twice as long as before."""
        pause = self._pauses.get(text, AGAIN_SECONDS)
        self._pauses[text] = min(2 * pause, LONGEST_SECONDS)
        return pause


def _open(actor: Actor) -> list[Request]:
    return [each for each in actor.state.open_requests if each.kind is RequestKind.LOGIN]
