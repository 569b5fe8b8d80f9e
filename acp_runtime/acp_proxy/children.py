"""The subagents of the editor's sessions, shown as they are, and what they ask, asked under them.

One follower for all sessions looks again whenever the daemon's log has grown, at most four times a second, and only at
sessions that have subagents or a turn. What a person answers in the editor goes to the daemon as the parent's answer;
what is answered elsewhere, or expires, is taken away from the editor.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from acp_runtime.acp_proxy.daemon import Daemon
from acp_runtime.acp_proxy.own import OwnRequests
from acp_runtime.acp_proxy.showing import (
    Shown,
    View,
    call_updates,
    event_update,
    is_over,
    options_of,
    session_updates,
    title_of,
)
from acp_runtime.api.errors import DaemonError
from acp_runtime.core.errors import Rejected
from acp_runtime.wire import acp, acp_client
from acp_runtime.wire.acp import ClientMethod

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
CALL_SECONDS: Final = 5.0
PAGES: Final = 20
MAX_ASKED: Final = 32
# Whom these are about is the person at the terminal, not a parent.
_NOT_ASKED: Final = frozenset({"login"})

Question = tuple[str, str]


@dataclass(slots=True)
class Family:
    """The subagents of one session. `busy`: it may have new ones now; `fresh`: it had none when it began."""

    session: str
    name: str
    busy: Callable[[], bool]
    fresh: bool
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    shown: dict[str, Shown] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)
    asked: dict[Question, tuple[str, "asyncio.Task[None]"]] = field(default_factory=dict)
    looked: bool = False


class Children:
    """The subagents of all sessions of an editor. `sessions` says that it takes them as sessions of their own."""

    def __init__(self, daemon: Daemon, editor: OwnRequests) -> None:
        self.sessions = False
        self._daemon = daemon
        self._editor = editor
        self._families: dict[str, Family] = {}
        self._follower: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, session: str, name: str, busy: Callable[[], bool], *, fresh: bool) -> None:
        """Show the subagents of the parent `name` in a session from now on; of one that goes on, not what they said."""
        self.drop(session)
        self._families[session] = family = Family(session, name, busy, fresh)
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow(), name="acp-children")
        if not fresh and self._daemon.there:
            self._do(self._look(family))

    def drop(self, session: str) -> None:
        """Show nothing more in a session. Idempotent."""
        if (family := self._families.pop(session, None)) is not None:
            for question in list(family.asked):
                self._take_away(family, question)

    def is_one(self, session: str) -> bool:
        """Return whether the agent of a subagent has this session; its parent's editor is not to list it."""
        return any(session in family.agents for family in self._families.values())

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

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- looking

    async def _follow(self) -> None:
        async for _ in self._daemon.changes(LOOK_SECONDS):
            for family in list(self._families.values()):
                if family.shown or family.busy() or not family.looked:
                    await self._look(family)

    async def _look(self, family: Family) -> None:
        async with family.looking:
            await self._look_at(family)

    async def _look_at(self, family: Family) -> None:
        try:
            views = await self._daemon.call("list_subagents", family.name, CALL_SECONDS)
            for ident in family.shown.keys() - {view["id"] for view in views}:
                views.append(await self._daemon.call("status", family.name, CALL_SECONDS, subagent=ident))
            for view in views:
                await self._show(family, view)
            family.looked = True
            self._ask(family, views)
        except (Rejected, DaemonError) as error:
            if getattr(error, "kind", "") == "unknown_subagent":
                family.shown.clear()
            self._daemon.failed(error)
        except Exception:
            log.exception("the subagents of a session could not be shown")

    async def _show(self, family: Family, view: View) -> None:
        ident = view["id"]
        shown = family.shown.setdefault(ident, Shown(seq=0 if family.fresh or family.looked else view["seq"]))
        if view["session_id"]:
            family.agents.add(view["session_id"])
        updates = (session_updates if self.sessions else call_updates)(view, shown)
        self._update(family.session, updates)
        if self.sessions:
            await self._tell(family, ident, shown)
        if is_over(view):
            del family.shown[ident]

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

    def _ask(self, family: Family, views: list[View]) -> None:
        """Ask the editor what is open and was not asked; take away what is not open any more."""
        wanted = {
            (view["id"], request["id"]): (view, request)
            for view in views
            for request in view["requests"]
            if request["kind"] not in _NOT_ASKED and options_of(request)
        }
        for question in [each for each in family.asked if each not in wanted]:
            self._take_away(family, question)
        for question, (view, request) in wanted.items():
            if question not in family.asked and len(family.asked) < MAX_ASKED:
                params = self._question(family, view, request)
                ident, answer = self._editor.ask(ClientMethod.SESSION_REQUEST_PERMISSION, params)
                task = asyncio.create_task(self._answer(family, question, answer), name="acp-question")
                family.asked[question] = (ident, task)

    def _question(self, family: Family, view: View, request: dict[str, Any]) -> dict[str, Any]:
        call = {"toolCallId": f"{view['id']}.{request['id']}", "title": f"{title_of(view)}: {request['title']}"}
        session = view["id"] if self.sessions else family.session
        return {"sessionId": session, "toolCall": call, "options": options_of(request)}

    async def _answer(self, family: Family, question: Question, answer: "asyncio.Future[dict[str, Any]]") -> None:
        """Hand on what a person chose. Who chose nothing leaves it to others, and is not asked again."""
        chosen = acp_client.read_permission_outcome((await answer).get("result"))
        if chosen is not None:
            subagent, request = question
            await self._call("answer", family, subagent=subagent, request=request, option=chosen)

    def _take_away(self, family: Family, question: Question) -> None:
        ident, task = family.asked.pop(question)
        if not task.done():
            task.cancel()
            self._editor.forget(ident)
            self._editor.notify(acp.CANCEL_REQUEST, {"requestId": ident})

    async def _call(self, method: str, family: Family, **arguments: Any) -> None:
        try:
            await self._daemon.call(method, family.name, CALL_SECONDS, **arguments)
        except (Rejected, DaemonError) as error:
            log.warning("%s", error)
