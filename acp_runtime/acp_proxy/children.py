"""The subagents of the editor's sessions, shown as they are, and what they ask, asked under them.

One follower for all sessions looks again whenever the daemon's log has grown, at most four times a second, and only at
sessions that have subagents or a turn, or had a turn since the last look. What a person answers in the editor goes to
the daemon as the parent's answer; what is answered elsewhere, or expires, is taken away from the editor.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from acp_runtime.acp_proxy.asking import Asked, is_asked
from acp_runtime.acp_proxy.courier import Courier
from acp_runtime.acp_proxy.daemon import FIRST_PAUSE, LONGEST_PAUSE, Daemon
from acp_runtime.acp_proxy.own import OwnRequests
from acp_runtime.acp_proxy.showing import (
    Shown,
    View,
    call_updates,
    event_update,
    is_over,
    session_updates,
)
from acp_runtime.api.errors import DaemonError, is_passing
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import leader_of
from acp_runtime.wire import acp
from acp_runtime.wire.acp import ClientMethod

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
AGAIN_SECONDS: Final = 2.0
CALL_SECONDS: Final = 5.0
PAGES: Final = 20
MAX_ASKED: Final = 32
# How often a person is asked for an answer that fits. Editors may answer by themselves, with the same for ever.
MAX_TRIES: Final = 10

Question = tuple[str, str]


@dataclass(slots=True)
class Family:
    """The subagents of one session. `fresh`: it had none when it began; `seen`: turns over at the last look, if any."""

    session: str
    name: str
    courier: Courier
    fresh: bool
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    shown: dict[str, Shown] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)
    asked: dict[Question, "asyncio.Task[object]"] = field(default_factory=dict)
    seen: int | None = None

    @property
    def due(self) -> bool:
        """Whether it may have other subagents, or others' news, than at the last look."""
        return bool(self.shown) or self.courier.busy or self.courier.ended != self.seen


class Children:
    """The subagents of all sessions of an editor: it takes `sessions` for them, and `forms` to fill in."""

    def __init__(self, daemon: Daemon, editor: OwnRequests) -> None:
        self.sessions = self.forms = False
        self._daemon = daemon
        self._editor = editor
        self._families: dict[str, Family] = {}
        self._follower: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self, session: str, name: str, courier: Courier, *, fresh: bool) -> None:
        """Show the subagents of the parent `name` in a session from now on; of one that goes on, not what they said."""
        self.drop(session)
        self._families[session] = family = Family(session, name, courier, fresh)
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow(), name="acp-children")
        if not fresh and self._daemon.there:
            self._do(self._look(family))

    def drop(self, session: str) -> None:
        """Show nothing more in a session. Idempotent."""
        if (family := self._families.pop(session, None)) is not None:
            for question in list(family.asked):
                family.asked.pop(question).cancel()

    def is_one(self, session: str) -> bool:
        """Return whether the agent of a subagent has this session; its parent's editor is not to list it."""
        return any(session in family.agents for family in self._families.values())

    @property
    def some(self) -> bool:
        """Whether any subagent is shown."""
        return any(family.shown for family in self._families.values())

    def shows(self, ident: str) -> bool:
        """Return whether a session or a tool call of this id is what is shown of a subagent, or asked for it."""
        return any(ident.partition(".")[0] in family.shown for family in self._families.values())

    def cancel(self, subagent: str) -> bool:
        """Cancel the task of a subagent that the editor knows as a session; False when there is none of that id."""
        family = next((each for each in self._families.values() if subagent in each.shown), None)
        if family is None or not self.sessions:
            return False
        self._do(self._call("cancel", family, subagent=subagent, cause="cancelled in the editor"))
        return True

    async def close(self) -> None:
        """Show and ask nothing more. Idempotent."""
        for session in list(self._families):
            self.drop(session)
        tasks = [each for each in (self._follower, *self._tasks) if each is not None]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _do(self, what: Coroutine[Any, Any, object]) -> "asyncio.Task[object]":
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- looking

    async def _follow(self) -> None:
        async for _ in self._daemon.changes(LOOK_SECONDS):
            for family in list(self._families.values()):
                if family.due:
                    await self._look(family)

    async def _look(self, family: Family) -> None:
        """Look until the daemon gave what there is: it tells of no change twice."""
        async with family.looking:
            while not (await self._looked_at(family) or self._left(family)):  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(AGAIN_SECONDS)

    async def _looked_at(self, family: Family) -> bool:
        """Look at the subagents of a session; return whether it makes no sense to do that again."""
        ended = family.courier.ended
        try:
            views = await self._daemon.call("tree", family.name, CALL_SECONDS)
            for ident in family.shown.keys() - {view["id"] for view in views}:
                views += await self._ended(family, ident)
            for view in views:
                await self._show(family, view)
            family.seen = ended
            self._ask(family, views)
        except (Rejected, DaemonError) as error:
            self._daemon.failed(error)
            return not is_passing(error)
        except Exception:
            log.exception("the subagents of a session could not be shown")
        return True

    async def _ended(self, family: Family, ident: str) -> list[View]:
        """Return one that was shown and is not open any more; nothing where its log was deleted meanwhile."""
        try:
            return [await self._daemon.call("status", family.name, CALL_SECONDS, subagent=ident)]
        except Rejected as error:
            if error.kind != "unknown_subagent":
                raise
            del family.shown[ident]
            return []

    def _left(self, family: Family) -> bool:
        """Return whether its session was closed or opened anew, which may be while it is looked at."""
        return self._families.get(family.session) is not family

    async def _show(self, family: Family, view: View) -> None:
        if self._left(family):
            return
        ident = view["id"]
        if (shown := family.shown.get(ident)) is None:
            seq = 0 if family.fresh or family.seen is not None else view["seq"]
            shown = family.shown[ident] = Shown(above=self._above(family, view), seq=seq)
        if view["session_id"]:
            family.agents.add(view["session_id"])
        updates = (session_updates if self.sessions else call_updates)(view, shown)
        self._update(shown.above, updates)
        if self.sessions:
            await self._tell(family, ident, shown)
        if is_over(view):
            del family.shown[ident]

    def _above(self, family: Family, view: View) -> str:
        """Return the session that a subagent is shown in: its leader's where that is one, else the parent's."""
        leader = leader_of(view["parent"])
        return leader if self.sessions and leader is not None and leader in family.shown else family.session

    async def _tell(self, family: Family, ident: str, shown: Shown) -> None:
        """Pass on what the agent of a subagent said since; of very much the rest comes with the next look."""
        for _ in range(PAGES):
            page = await self._daemon.call("poll", family.name, CALL_SECONDS, subagent=ident, since=shown.seq)
            self._update(ident, [update for row in page["rows"] if (update := event_update(row)) is not None])
            if page["next_seq"] <= shown.seq:
                return
            shown.seq = page["next_seq"]

    def _update(self, session: str, updates: list[dict[str, Any]]) -> None:
        for update in updates:
            self._editor.notify(ClientMethod.SESSION_UPDATE, {"sessionId": session, "update": update})

    # ---- asking

    def _session(self, family: Family, view: View) -> str:
        return str(view["id"]) if self.sessions else family.session

    def _ask(self, family: Family, views: list[View]) -> None:
        """Ask the editor what is open and was not asked; take away what is not open any more."""
        if self._left(family):
            return
        wanted = {
            (view["id"], request["id"]): Asked(view, request, self._session(family, view), self.forms)
            for view in views
            for request in view["requests"]
            if is_asked(view, request)
        }
        for question in list(family.asked.keys() - wanted.keys()):
            family.asked.pop(question).cancel()
        for question, asked in wanted.items():
            if question not in family.asked and len(family.asked) < MAX_ASKED:
                family.asked[question] = self._do((self._put if asked.answerable else self._told)(family, asked))

    async def _put(self, family: Family, asked: Asked) -> None:
        """Ask until an answer was handed on that the subagent takes; cancelled, take the question away.

        Who gives no answer, or again and again one that does not fit, leaves it to others, and is not asked again.
        """
        why = ""
        for _ in range(MAX_TRIES):
            ident, coming = self._editor.ask(*asked.question(why))
            try:
                given = asked.answer((await coming).get("result"))
            except asyncio.CancelledError:
                self._editor.forget(ident)
                self._editor.notify(acp.CANCEL_REQUEST, {"requestId": ident})
                raise
            if not given or not (why := await self._handed_on(family, asked, given)):
                return

    async def _handed_on(self, family: Family, asked: Asked, given: dict[str, str]) -> str:
        """Hand an answer on, as soon as there is a daemon to take it; return why it does not fit, empty where it does.

        The daemon takes one answer to a request: handed on twice, the second changes nothing.
        """
        subagent, request, pause = asked.view["id"], asked.request["id"], FIRST_PAUSE
        while True:
            error = await self._call("answer", family, subagent=subagent, request=request, **given)
            if error is None or (isinstance(error, Rejected) and not is_passing(error)):
                return str(error) if error is not None and error.kind == "answer_invalid" else ""
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _told(self, family: Family, asked: Asked) -> None:
        """Show a question that nothing in the editor can answer, until it is taken away."""
        self._update(asked.session, [asked.telling()])
        try:
            await asyncio.Event().wait()
        finally:
            if family.session in self._families:
                self._update(asked.session, [asked.taken_away()])

    async def _call(self, method: str, family: Family, **arguments: Any) -> Rejected | DaemonError | None:
        """Have the daemon do something; return why it did not."""
        try:
            await self._daemon.call(method, family.name, CALL_SECONDS, **arguments)
        except Rejected as error:
            log.warning("%s", error)
            return error
        except DaemonError as error:
            self._daemon.failed(error)
            return error
        return None
