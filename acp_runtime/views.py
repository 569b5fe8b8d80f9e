"""What callers get back: frozen, typed, plain (they cross a socket as JSON and come back equal).

Moments are ISO 8601 in UTC with milliseconds and a `Z`; `seq` numbers are cursors of the one log.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from acp_runtime.core.budget import Budget, Scope
from acp_runtime.core.lineage import Role
from acp_runtime.core.model import Opening, TaskState, Verdict
from acp_runtime.core.nudge import headline
from acp_runtime.core.request import Field, RequestKind
from acp_runtime.core.status import Status
from acp_runtime.manager.launcher import Judgement


@dataclass(frozen=True, slots=True)
class Spending:
    """What calls of models used. `tokens` is the sum of the four kinds; `reasoning_tokens` are part of the output.

    Of `refused_calls` no model heard, `failed_calls` got no answer but an error: both cost nothing. `unknown_calls`
    did not tell all of their tokens, `unpriced_calls` used a model whose price is not known: the sums lack theirs.
    `cost_usd` is None where calls used tokens and none of them has a known price.
    """

    calls: int = 0
    refused_calls: int = 0
    failed_calls: int = 0
    unknown_calls: int = 0
    unpriced_calls: int = 0
    tokens: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task and its fate. `result` is the agent's last message; `cause` says in one sentence why it ended so.

    `report` is what the agent itself says it came to, as JSON, or empty. `trouble`: why its model does not answer now.
    """

    id: str
    number: int
    text: str
    state: TaskState
    verdict: Verdict | None
    cause: str
    stop_reason: str | None
    result: str
    tools_completed: int
    tools_failed: int
    files_changed: int | None
    stderr_tail: str
    queued_at: str = ""
    ended_at: str | None = None
    spent: Spending = Spending()
    report: str = ""
    trouble: str = ""

    @property
    def headline(self) -> str:
        """The outcome as people read it."""
        return headline(self.state, self.verdict)


@dataclass(frozen=True, slots=True)
class OptionView:
    """One answer that may be given; `kind` is ACP's word (`allow_once`, `reject_always`, ...), or `choice`."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class RequestView:
    """An open question. `kind` says who asks: the agent for a permission, or the manager for a decision.

    With `egress` nobody waits: the agent was refused what it wanted to reach, and goes on. A `form` has `fields`.
    `writing` says what text answers it, empty where an option must. Unanswered, it is closed with a no at `closes_at`.
    """

    id: str
    task: str
    title: str
    kind: RequestKind = RequestKind.PERMISSION
    options: tuple[OptionView, ...] = ()
    writing: str = ""
    fields: tuple[Field, ...] = ()
    closes_at: str | None = None


@dataclass(frozen=True, slots=True)
class ShareView:
    """What a subagent shares with others of a scope: bounds that are set, and how far all of them have come together.

    `scope` is `tree` or `parent`, `key` the subagent at the top of the tree, or the parent. Costs in nano-dollars.
    `agents` and `wall` (seconds) are bounds as configured, `agents_had` and `seconds` what there was of them; `seconds`
    is 0 where time is not bounded.
    """

    scope: Scope
    key: str
    budget: Budget
    agents: int | None
    wall: float | None
    tokens_used: int
    cost_used: int
    agents_had: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SubagentView:
    """One subagent as its owner sees it, with its tasks in order. `seq` is the cursor after its newest event.

    `queued` counts tasks that wait, `unread` events that its parent has not polled. `current_task` is the id of the one
    with the agent. `runtime` is that of its container, empty for the engine's own default; `unsafe` names what weakens
    its sandbox. `steering`: the agent takes messages while it works. `keep`: home and work outlast its end.
    `resumable`: it ended, and can start again with what was kept. `exported` is False where its work was not taken out.
    `spent` is of all its tasks, and of calls outside of them; `budget` is what it may use, costs in nano-dollars;
    `shares`, told of one asked for by itself, what bounds it together with others. `granted`: what its task may reach
    beside its preset. `role_note`: why its role is not what was asked for; `depth` counts from 1, the subagents of an
    outer parent. `awaits`: those that it leads work, or have news that will wake it. `tool_count`: of ended tool calls.
    """

    id: str
    parent: str
    name: str
    status: Status
    purpose: str
    agent: str
    workspace: str
    cwd: str
    preset: str
    runtime: str
    unsafe: tuple[str, ...]
    model: str | None
    step: str | None
    attempt: int
    session_id: str | None
    opening: Opening | None
    steering: bool
    container: str
    pid: int | None
    reason: str | None
    error_kind: str | None
    cause: str
    confirmed: bool
    exported: bool
    keep: bool
    resumable: bool
    one_shot: bool
    output_file: str | None
    queued: int
    unread: int
    current_task: str | None
    started_at: str
    last_activity_at: str
    idle_timeout_at: str | None
    max_lifetime_at: str | None
    seq: int
    tasks: tuple[TaskView, ...]
    requests: tuple[RequestView, ...]
    granted: tuple[str, ...] = ()
    spent: Spending = Spending()
    budget: Budget = field(default_factory=Budget)
    role: Role = Role.LEAF
    role_note: str = ""
    depth: int = 1
    awaits: bool = False
    shares: tuple[ShareView, ...] = ()
    tool_count: int = 0

    @property
    def newest(self) -> TaskView:
        """The newest task; there is always one."""
        return self.tasks[-1]

    @property
    def held(self) -> tuple[RequestView, ...]:
        """The open questions for whose answers the agent or its queue waits."""
        return tuple(each for each in self.requests if each.kind is not RequestKind.EGRESS)

    @property
    def settled(self) -> bool:
        """Whether nothing goes on without a word of its parent: every task is over. An ended subagent has no other.

        One that leads others has settled when they have, and it was told.
        """
        return self.queued == 0 and not self.awaits and all(task.state.over for task in self.tasks)


class Outcome(StrEnum):
    """What became of a message."""

    DISPATCHED = "dispatched"
    QUEUED = "queued"
    INJECTED = "injected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message, honestly: `sentence` says it for people; `queued` counts the tasks that wait."""

    view: SubagentView
    outcome: Outcome
    queued: int
    sentence: str


class WaitReason(StrEnum):
    """Why a wait returned."""

    ENDED = "ended"
    QUESTION = "question"
    CHANGE = "change"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Waited:
    """The subagents that were waited for, in the order asked. `seq` as `since` of the next wait misses nothing."""

    views: tuple[SubagentView, ...]
    reason: WaitReason
    seq: int


@dataclass(frozen=True, slots=True)
class EventView:
    """One thing that happened, as readers see it: joined pieces of one message, one step of a tool call, one fact.

    `kind` is ACP's word for what an agent says and does, ours for the rest (docs/tools.md lists them).
    """

    seq: int
    kind: str
    text: str
    timestamp: str
    task: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of one subagent's log. `next_seq` is the cursor behind it; `unread` counts what lies after that.

    `expired`: the log was deleted some time after the subagent's end, so nothing more can be read.
    """

    rows: tuple[EventView, ...]
    next_seq: int
    unread: int
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Tail:
    """What a living agent wrote on its standard error, as far as it is held; the next call goes on at `cursor`."""

    text: str
    cursor: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an agent said and did. `cut`: it was longer than the bound, and the oldest part is left out."""

    entries: tuple[EventView, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class NudgeView:
    """One fact for a parent and how far it got: pending, claimed, committed, superseded or dead.

    `dead` says why it is offered no more; empty for all others.
    """

    id: str
    kind: str
    parent: str
    subagent: str
    name: str
    subject: str
    headline: str
    cause: str
    result: str
    state: str
    created_at: str
    dead: str = ""


@dataclass(frozen=True, slots=True)
class Wakeup:
    """There is something to tell an idle parent: the ids of its open nudges. Begin a turn to read them."""

    nudges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """One place where the words of a search stand. `where` is `task`, `result` or `transcript`."""

    subagent: str
    name: str
    task: str | None
    where: str
    snippet: str
    seq: int
    timestamp: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed, or with `dry_run` would remove. `bytes` is what it frees on the disk, about."""

    subagents: tuple[str, ...]
    bytes: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Reaped:
    """What there is on the engine and beside it, and what became, or with `dry_run` would become of it."""

    judgements: tuple[Judgement, ...]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """What a store holds and takes on the disk. Counts are of the caller's own, sizes in bytes of the whole store.

    `disk_free_bytes` is the room on the store's disk; with too little of it nothing new is started.
    """

    subagents: int
    open_subagents: int
    events: int
    nudges_open: int
    nudges_dead: int
    store_bytes: int
    work_bytes: int
    disk_free_bytes: int


@dataclass(frozen=True, slots=True)
class Reached:
    """One exchange, tunnel or refusal of a sandbox. `way` is `model`, `tunnel`, `http`, `registry`, or `none`.

    `end` is `answered`, `refused` (by us, with `code`), `broken`, `left` or `cut`; `allowed_by` the rule or registry
    that let it through; bytes are those of bodies, or of a tunnel. What is not known is empty.
    """

    at: str
    subagent: str
    attempt: int
    way: str
    host: str
    port: int
    method: str
    path: str
    status: int | None
    end: str
    allowed_by: str
    code: str
    why: str
    bytes_up: int
    bytes_down: int


UsageBy = Literal["task", "subagent", "parent", "tree", "model"]


@dataclass(frozen=True, slots=True)
class UsageView:
    """What calls of models used, summed for one task, subagent, parent, tree or model; what is not told apart is None.

    With `by="task"` what a subagent called outside of its tasks has no `task`. `model` is empty where it is not known.
    A tree is told by the subagent at its top, with the number of its `agents` and of the `seconds` of all their tasks.
    """

    spent: Spending
    parent: str | None = None
    subagent: str | None = None
    name: str | None = None
    task: str | None = None
    model: str | None = None
    agents: int | None = None
    seconds: float | None = None
