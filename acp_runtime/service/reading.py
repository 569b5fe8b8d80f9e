"""Reading the projections as views: what a caller may see, all of one view as of one moment.

A foreign id answers exactly like an unknown one. Nothing here changes anything.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from acp_runtime.callers import Caller, Operator, word_of
from acp_runtime.clock import Clock
from acp_runtime.core.admission import Share, Taken
from acp_runtime.core.budget import Budget
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Role
from acp_runtime.core.model import Opening, Subagent, TaskState, Verdict
from acp_runtime.core.nudge_states import NUDGE_STATES
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.request import Field, RequestKind
from acp_runtime.core.status import Status
from acp_runtime.core.timers import milliseconds
from acp_runtime.core.wishes import granted
from acp_runtime.service.spending import NEWEST_CALL, SUMS, spending, trouble
from acp_runtime.store.outbox import OPEN
from acp_runtime.store.parents import OWNER
from acp_runtime.store.store import Store
from acp_runtime.views import NudgeView, OptionView, RequestView, ShareView, SubagentView, TaskView

TASKS_SHOWN: Final = 20
LISTED: Final = 1_000
CANDIDATES: Final = 10
# The kind of a start that found nothing to go on with: the next would find no more.
NOTHING_KEPT: Final = "nothing_kept"

_NEWEST: Final = "coalesce((SELECT max(version) FROM event WHERE stream = subagent.id), 0)"
_READ: Final = (
    "coalesce((SELECT version FROM event WHERE stream = subagent.id AND seq <= "
    "(SELECT read_seq FROM cursor WHERE parent = subagent.parent AND cursor.subagent = subagent.id) "
    "ORDER BY seq DESC LIMIT 1), 0)"
)
_TOOLS: Final = "(SELECT total(tools_completed + tools_failed) FROM task WHERE task.subagent = subagent.id)"
# Whether those that it leads work, or what they have to tell will wake it: see `manager/leading.py`.
_AWAITS: Final = (
    f"(role = 'orchestrator' AND {OPEN} AND (EXISTS (SELECT 1 FROM subagent AS led JOIN task ON task.subagent = led.id "  # noqa: S608
    "WHERE led.parent = 'subagent:' || subagent.id AND task.ended_seq IS NULL) OR EXISTS (SELECT 1 FROM nudge "
    "LEFT JOIN parent ON parent.id = nudge.parent WHERE nudge.parent = 'subagent:' || subagent.id "
    "AND nudge.state IN ('pending', 'claimed') AND coalesce(parent.wakes, 0) < {wakes:d})))"
)
_COLUMNS: Final = (
    f"SELECT subagent.*, {_NEWEST} - {_READ} AS unread, {{awaits}} AS awaits, {_TOOLS} AS tool_count "  # noqa: S608 - constants
    "FROM subagent"
)
_TASKS: Final = f"SELECT task.*, {NEWEST_CALL} FROM task WHERE subagent"  # noqa: S608 - constants
# The newest, and behind a long queue that which is at work or comes next, too.
_SHOWN: Final = (
    f"(number > (SELECT max(number) FROM task WHERE subagent = ?) - {TASKS_SHOWN} "  # noqa: S608 - a constant
    "OR number = (SELECT min(number) FROM task WHERE subagent = ? AND ended_seq IS NULL))"
)
_SPENT: Final = f"SELECT subagent, task, {SUMS} FROM spent WHERE subagent"  # noqa: S608 - constants
_OPEN_REQUESTS: Final = "SELECT * FROM request WHERE closed_seq IS NULL AND subagent"


class Reading:
    """The reading half of a `Runtime`. `living` gives the state of one that has an actor, `wakes` what holds now."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        living: Callable[[str], Subagent | None],
        *,
        wakes: Callable[[], int] = int,
        shares: Callable[[], tuple[Share, ...]] = tuple,
    ) -> None:
        self._shares = shares
        self._wakes = wakes
        self._store = store
        self._clock = clock
        self._living = living

    @property
    def _columns(self) -> str:
        return _COLUMNS.format(awaits=_AWAITS.format(wakes=self._wakes()))

    async def status(self, caller: Caller, subagent: str) -> SubagentView:
        """Return one subagent with its newest tasks. Raises `Rejected` (unknown_subagent)."""
        scope, mine = _seen_by(caller)
        rows, tasks, requests, spent = await self._store.queries(
            (f"{self._columns} WHERE id = ? AND {scope}", (subagent, *mine)),
            (f"{_TASKS} = ? AND {_SHOWN} ORDER BY number", (subagent, subagent, subagent)),
            (f"{_OPEN_REQUESTS} = ? ORDER BY opened_seq", (subagent,)),
            (f"{_SPENT} = ? GROUP BY task", (subagent,)),
        )
        if not rows:
            raise unknown(subagent)
        view = self._view(rows[0], tasks, requests, spent)
        if not (shares := self._shares()):
            return view
        found = zip(shares, await self._store.taken(subagent, shares), strict=False)
        return replace(view, shares=tuple(_share(share, taken) for share, taken in found))

    async def views(self, caller: Caller, *, ended: bool, below: bool = False) -> list[SubagentView]:
        """Return subagents in order of creation, each with its open tasks and the newest one.

        A caller's own, or with `below` also those further down.
        """
        scope, mine = tree_of(caller) if below else scope_of(caller)
        listed = f"SELECT id FROM subagent WHERE {scope}" + ("" if ended else f" AND {OPEN}")  # noqa: S608 - constants
        listed += f" ORDER BY created_seq DESC LIMIT {LISTED}"
        newest = "(SELECT max(number) FROM task AS each WHERE each.subagent = task.subagent)"
        open_tasks = f"{_TASKS} IN ({listed}) AND (ended_seq IS NULL OR number = {newest})"
        rows, tasks, requests, spent = await self._store.queries(
            (f"{self._columns} WHERE id IN ({listed}) ORDER BY created_seq", mine),
            (f"{open_tasks} ORDER BY number", mine),
            (f"{_OPEN_REQUESTS} IN ({listed}) ORDER BY opened_seq", mine),
            (f"{_SPENT} IN ({listed}) GROUP BY subagent, task", mine),
        )
        return [self._view(row, _of(row, tasks), _of(row, requests), _of(row, spent)) for row in rows]

    async def find(self, caller: Caller, wanted: str) -> str:
        """Return the id that is meant: an id, the beginning of one, or a name.

        A name that several have means the one that has not ended. Raises `Rejected` (unknown_subagent, ambiguous).
        """
        scope, mine = tree_of(caller)
        begins = wanted if wanted.startswith("bg") else f"bg-{wanted}"
        rows = await self._store.query(
            f"SELECT id, name, {OPEN} AS open FROM subagent WHERE {scope} AND (name = ? OR substr(id, 1, ?) = ?) "  # noqa: S608
            f"ORDER BY id = ? DESC, open DESC, created_seq DESC LIMIT {CANDIDATES}",
            *mine, wanted, len(begins), begins, begins,
        )  # fmt: skip
        if not wanted or not rows:
            raise unknown(wanted)
        named = [row for row in rows if row["name"] == wanted and row["open"]]
        if len(rows) == 1 or rows[0]["id"] == begins:
            return str(rows[0]["id"])
        if len(named) == 1:
            return str(named[0]["id"])
        told = ", ".join(f"{row['name']} ({row['id']})" for row in rows)
        sentence = f"{one_line(wanted, 40)} can mean several subagents: {told}; give more of the id"
        raise Rejected("ambiguous", sentence, {"candidates": [row["id"] for row in rows]})

    async def nudges(
        self, caller: Caller, *, state: str | None, limit: int, ids: Sequence[str] | None = None
    ) -> list[NudgeView]:
        """Return nudges, of `ids` where given, newest first. Reading claims none. Raises `Rejected` (invalid)."""
        if state is not None and state not in NUDGE_STATES:
            known = ", ".join(NUDGE_STATES)
            raise Rejected("invalid", f"state is {one_line(state, 60)!r}; the states of nudges are: {known}")
        scope, mine = scope_of(caller)
        only = None if ids is None else json.dumps(ids)
        rows = await self._store.query(
            f"SELECT * FROM nudge WHERE {scope} AND (? IS NULL OR state = ?) "  # noqa: S608
            "AND (? IS NULL OR id IN (SELECT value FROM json_each(?))) ORDER BY created_seq DESC LIMIT ?",
            *mine, state, state, only, only, max(1, min(limit, LISTED)),
        )  # fmt: skip
        return [_nudge(row) for row in rows]

    async def word(self, caller: Caller, view: SubagentView) -> str:
        """Return who a caller is to a subagent, in the words of the log: `operator`, `parent` or `ancestor`."""
        own = not isinstance(caller, Operator) and await self._store.resolve(caller) == view.parent
        return word_of(caller, parent=own)

    async def seq(self) -> int:
        """Return the cursor after the newest event of the store."""
        rows = await self._store.query("SELECT coalesce(max(seq), 0) AS seq FROM event")
        return int(rows[0]["seq"])

    def _view(
        self,
        row: Mapping[str, Any],
        tasks: Sequence[dict[str, Any]],
        requests: Sequence[dict[str, Any]],
        spent: Sequence[dict[str, Any]],
    ) -> SubagentView:
        status = Status(row["status"])
        live = self._living(row["id"])
        active = next((each["id"] for each in tasks if TaskState(each["state"]).active), None)
        return SubagentView(
            id=row["id"],
            parent=row["parent"],
            name=row["name"],
            status=status,
            purpose=row["purpose"],
            agent=row["agent"],
            workspace=row["workspace"],
            cwd=row["cwd"],
            preset=row["preset"],
            runtime=row["runtime"],
            unsafe=tuple(json.loads(row["unsafe"])),
            model=row["model"],
            step=row["step"],
            attempt=row["attempt"],
            session_id=row["session_id"],
            opening=Opening(row["opening"]) if row["opening"] else None,
            steering=bool(row["steering"]),
            container=row["container"],
            pid=row["pid"],
            reason=row["reason"],
            error_kind=row["error_kind"],
            cause=row["cause"],
            confirmed=bool(row["confirmed"]),
            exported=bool(row["exported"]),
            keep=bool(row["keep"]),
            resumable=status.over and bool(row["keep"]) and row["error_kind"] != NOTHING_KEPT,
            one_shot=bool(row["one_shot"]),
            output_file=row["output_file"],
            queued=row["queued"],
            unread=row["unread"],
            current_task=active,
            started_at=f"{row['created_wall']}Z",
            last_activity_at=f"{row['updated_wall']}Z",
            idle_timeout_at=self._after(live.idle_since, live.limits.idle) if live else None,
            max_lifetime_at=self._after(live.requested_at, live.limits.lifetime) if live else None,
            seq=row["updated_seq"],
            tasks=tuple(_task(task, [each for each in spent if each["task"] == task["id"]]) for task in tasks),
            requests=tuple(self._request(each, live) for each in requests),
            granted=granted(live.active) if live else (),
            role=Role(row["role"]),
            role_note=row["role_note"],
            depth=row["depth"],
            awaits=bool(row["awaits"]),
            tool_count=int(row["tool_count"]),
            spent=spending(*spent),
            budget=Budget(**json.loads(row["budget"])),
        )

    def _request(self, row: Mapping[str, Any], live: Subagent | None) -> RequestView:
        options = tuple(OptionView(**each) for each in json.loads(row["options"]))
        fields = tuple(map(Field.of, json.loads(row["fields"])))
        open_ones = live.open_requests if live else ()
        deadline = next((each.deadline for each in open_ones if each.id == row["id"]), None)
        closes_at, kind = self._after(deadline, 0), RequestKind(row["kind"])
        return RequestView(row["id"], row["task"], row["title"], kind, options, row["writing"], fields, closes_at)

    def _after(self, since: int | None, seconds: float | None) -> str | None:
        """Return when a timer that runs since a reading of this boot's clock is due, as the wall clock will show it."""
        if since is None or seconds is None:
            return None
        left = since + milliseconds(seconds) - self._clock.now()
        moment = self._clock.wall() + timedelta(milliseconds=left)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unknown(subagent: str) -> Rejected:
    """Return the one answer to an id that is unknown or another parent's."""
    return Rejected("unknown_subagent", f"Unknown background subagent: {one_line(subagent, 40)}")


def scope_of(caller: Caller) -> tuple[str, tuple[str, ...]]:
    """Return which rows are a caller's own, as a condition and its values."""
    return ("1", ()) if isinstance(caller, Operator) else (f"parent = {OWNER}", (caller, caller))


def tree_of(caller: Caller) -> tuple[str, tuple[str, ...]]:
    """Return which rows of subagents a caller may see, as a condition and its values: its own and those below them."""
    if isinstance(caller, Operator):
        return "1", ()
    return f"subagent.id IN (SELECT kin.subagent FROM kin WHERE kin.above = {OWNER})", (caller, caller)  # noqa: S608 - a constant


def _seen_by(caller: Caller) -> tuple[str, tuple[str, ...]]:
    """Return the same condition for one row that is known: it looks at no others."""
    if isinstance(caller, Operator):
        return "1", ()
    return f"EXISTS (SELECT 1 FROM kin WHERE kin.subagent = subagent.id AND kin.above = {OWNER})", (caller, caller)  # noqa: S608 - a constant


def _share(share: Share, taken: Taken) -> ShareView:
    return ShareView(
        scope=share.scope,
        key=taken.key,
        budget=share.budget,
        agents=share.extent.agents,
        wall=share.extent.wall,
        tokens_used=taken.used.tokens,
        cost_used=taken.used.cost,
        agents_had=taken.agents,
        seconds=round(taken.seconds, 3),
    )


def _of(row: Mapping[str, Any], each: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in each if found["subagent"] == row["id"]]


def _task(row: Mapping[str, Any], calls: Sequence[dict[str, Any]]) -> TaskView:
    spent = spending(*calls)
    return TaskView(
        id=row["id"],
        number=row["number"],
        text=row["text"],
        state=TaskState(row["state"]),
        verdict=Verdict(row["verdict"]) if row["verdict"] else None,
        cause=row["cause"],
        stop_reason=row["stop_reason"],
        result=row["result"],
        tools_completed=row["tools_completed"],
        tools_failed=row["tools_failed"],
        files_changed=row["files_changed"],
        stderr_tail=row["stderr_tail"],
        queued_at=f"{row['queued_wall']}Z",
        ended_at=f"{row['ended_wall']}Z" if row["ended_wall"] else None,
        spent=spent,
        report=row["report"],
        trouble=trouble(row, spent),
    )


def _nudge(row: Mapping[str, Any]) -> NudgeView:
    names = ("id", "kind", "parent", "subagent", "name", "subject", "headline", "cause", "result", "state", "dead")
    return NudgeView(**{name: row[name] for name in names}, created_at=f"{row['created_wall']}Z")
