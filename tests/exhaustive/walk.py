"""The walk over the machine: every state that up to two tasks can reach, under every input and every timer.

There are several walks, each with one thing that the others leave out: together they would not end in a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from acp_runtime.core.budget import Budget, Used
from acp_runtime.core.confinement import Egress
from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Prompt
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import (
    Event,
    TaskStarted,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    AskParent,
    CancelTask,
    ChannelClosed,
    Command,
    DeadlinePassed,
    DeathProven,
    Denied,
    Halted,
    Heard,
    Input,
    LoginExpired,
    LoginRenewed,
    ModelUsed,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    Reattached,
    Refused,
    ReportResult,
    ResumeSubagent,
    Send,
    SessionReady,
    SetBudget,
    Spawn,
    StartBroke,
    SteerAnswered,
    SteerTask,
    StepBegan,
    StopSubagent,
    SubtreeOver,
    TakeAnswer,
)
from acp_runtime.core.lineage import Lineage, Role
from acp_runtime.core.logins import AGAIN, GIVE_UP
from acp_runtime.core.model import Limits, Opening, Order, Permissions, Reason, Steering, Step, Subagent
from acp_runtime.core.observations import LOGIN_EXPIRED, MANAGER_ENDED
from acp_runtime.core.request import Option
from acp_runtime.core.timers import outstanding, timers
from acp_runtime.core.transcript import MessageEntry, ToolEntry
from acp_runtime.core.wishes import ALLOW, REFUSE

RULE = "api.example.org:443"
MAX_TASKS = 2
MAX_ATTEMPTS = 2
STOP_REASONS = ("end_turn", "refusal", "max_tokens", "cancelled", "made_up")
TASK_EVENTS = ("TaskStarted", "TaskRetried", "CancelRequested", "TaskEnded")


@dataclass(frozen=True)
class Ground:
    """What one walk may do beside starting, working on tasks, being cancelled and being stopped."""

    name: str
    asks: bool = False
    restarts: int = 0
    retries: int = 0
    steers: int = 0
    attempts: int = 1
    budget: int | None = None
    reaches: bool = False
    logs_in: bool = False
    leads: bool = False
    tools: bool = False

    @property
    def limits(self) -> Limits:
        return Limits(idle=50.0, lifetime=100_000.0, restarts=self.restarts, retries=self.retries)


GROUNDS = (
    Ground("questions", asks=True),
    Ground("restarts", restarts=1, attempts=2),
    Ground("retries", retries=1),
    Ground("steering", steers=1),
    Ground("resumed", attempts=2),
    Ground("budget", retries=1, budget=10),
    Ground("egress", retries=1, reaches=True),
    Ground("login", logs_in=True),
    Ground("leading", leads=True),
    Ground("tools", tools=True),
)


def spawn(permissions: Permissions = Permissions.ALLOW, ground: Ground = GROUNDS[0]) -> Spawn:
    return Spawn(
        id="bg-0000000000",
        parent="p",
        name="amber-fox",
        purpose="walk",
        order=Order(
            agent="scripted",
            workspace="/w",
            keep=True,
            budget=Budget(tokens=ground.budget),
            egress=Egress() if ground.reaches else None,
            lineage=Lineage(Role.ORCHESTRATOR, ("p",), 3) if ground.leads else Lineage(),
        ),
        permissions=permissions,
        limits=ground.limits,
        task="first",
    )


def observations(state: Subagent, attempt: int, ground: Ground) -> Iterator[Input]:
    ids = [task.id for task in state.tasks] or ["none"]
    allow, reject = Option("a", "Allow", "allow_always"), Option("r", "Reject", "reject_once")
    yield from (StepBegan(attempt, step) for step in (Step if ground.asks else (Step.BACKOFF, Step.SESSION)))
    yield SessionReady(attempt, "s", "agent", "1", steering=ground.steers > 0)
    if ground.attempts > 1:
        yield SessionReady(attempt, "s", "agent", "1", opening=Opening.LOST)
    yield StartBroke(attempt, "broke")
    if ground.restarts and state.attempt < MAX_ATTEMPTS:
        yield StartBroke(attempt, "gone", MANAGER_ENDED)
        yield StartBroke(attempt, "away", "engine_unreachable")
        yield DeathProven(attempt, None, "gone", MANAGER_ENDED)
    if ground.restarts:
        yield DeathProven(attempt, 137, "killed", kept=True, accepted=0)
        yield Reattached(attempt, adopted=True, undelivered=True)
    yield Heard(attempt, (MessageEntry("agent", "hi"), ToolEntry("t1", status="completed")))
    if ground.asks:
        yield Asked(attempt, f"{attempt}-1", "may I", (allow, reject))
        yield Asked(attempt, f"{attempt}-2", "may I", (reject,))
    yield from [Denied(attempt, RULE)] if ground.reaches else []
    expired = LoginExpired(attempt, "log in again"), StartBroke(attempt, "log in again", LOGIN_EXPIRED)
    yield from expired if ground.logs_in and not state.wish_count else ()
    for task in ids:
        yield PromptLaid(attempt, task, 7, 0)
        yield PromptBroke(attempt, task, "error")
        if ground.retries:
            yield PromptBroke(attempt, task, "429 too many requests")
        for reason in STOP_REASONS if ground.asks else STOP_REASONS[:1]:
            yield PromptAnswered(attempt, task, reason, files_changed=1)
    yield ChannelClosed(attempt, "eof")
    yield Reattached(attempt)
    if ground.steers:
        yield Reattached(attempt, adopted=True)
        yield Refused(attempt, "its holder refused this manager")
    yield DeathProven(attempt, 137, "killed")
    yield from [SubtreeOver(attempt)] if ground.leads else []
    yield Halted(attempt, confirmed=True)
    yield Halted(attempt, confirmed=False)
    for steer in state.steers:
        yield SteerAnswered(attempt, steer.id, Steering.INJECTED)
        yield SteerAnswered(attempt, steer.id, Steering.QUEUED)


def calls(ground: Ground) -> Iterator[Input]:
    if ground.budget is not None:
        yield ModelUsed(Used(tokens=ground.budget))
        yield ModelUsed(Used(tokens=ground.budget), refused="its budget is used up")


def commands(state: Subagent, ground: Ground) -> Iterator[Input]:
    if state.task_count < MAX_TASKS:
        yield Send("second")
        if state.attempt < ground.attempts:
            yield ResumeSubagent("again", "parent")
    if state.steer_count < ground.steers and state.task_count < MAX_TASKS:
        yield SteerTask("left, please", "parent")
    yield CancelTask(f"{state.id}.t1", "parent", "enough")
    yield CancelTask(f"{state.id}.t2", "parent", "enough")
    yield StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")
    if ground.budget is not None and not state.period:
        yield SetBudget(Budget(tokens=ground.budget + 1), "operator")
    if ground.asks:
        yield StopSubagent(Reason.FINISHED, "manager", "done")
    if ground.asks:
        yield AnswerRequest(f"{state.attempt}-1", "a", "parent")
        yield AnswerRequest(f"{state.attempt}-2", "r", "operator")
    for request in state.open_requests if ground.reaches else ():
        yield AnswerRequest(request.id, ALLOW, "parent")
        yield AnswerRequest(request.id, REFUSE, "operator")
    for request in state.open_requests if ground.logs_in else ():
        yield LoginRenewed(request.id)
        yield AnswerRequest(request.id, AGAIN, "parent")
        yield AnswerRequest(request.id, GIVE_UP, "parent")
    yield from tools(state) if ground.tools else ()
    yield AnswerRequest(f"q{state.attempt}", "continue", "parent")
    yield AnswerRequest(f"q{state.attempt}", "drop", "parent")


def tools(state: Subagent) -> Iterator[Input]:
    """What an agent says by its own tools, and what it is answered; of one question."""
    if not state.ask_count or state.open_requests:
        yield AskParent(state.attempt, "Which?", ("red",))
    if state.ask_count:
        yield AnswerRequest("a1", "1", "parent")
        yield TakeAnswer("a1")
    yield ReportResult(state.attempt, "1")


def moves(state: Subagent, ground: Ground) -> Iterator[tuple[Input, int]]:
    now = 0
    for each in (*observations(state, state.attempt, ground), *calls(ground), *commands(state, ground)):
        yield each, now
    for _, moment in timers(state):
        yield DeadlinePassed(), moment


def key(state: Subagent) -> tuple[object, ...]:
    """A state without its clock readings: which timers are armed is what matters."""
    tasks = tuple((t.state, t.goal, t.remaining is not None, t.cancelled_by) for t in state.tasks)
    requests = tuple((r.rule or r.id, r.answer) for r in state.requests)
    more = (state.attempt, state.restarts, state.opening is Opening.LOST, bool(state.note), state.loss_told)
    more = (*more, bool(state.refused), state.reached, state.period, tuple(bool(t.doomed) for t in state.tasks))
    more = (*more, tuple(s.outcome for s in state.steers), tuple(t.retries for t in state.tasks))
    more = (*more, state.wish_count, tuple(bool(t.logged_out) for t in state.tasks))
    more = (*more, state.leading)
    more = (*more, state.ask_count, tuple(a.request_id for a in state.answers))
    more = (*more, tuple(bool(t.evidence.report) for t in state.tasks))
    stop = (state.stop.reason, state.stop.by, state.stop.failed) if state.stop else None
    more = (*more, tuple(tuple(wish.verdict for wish in task.wishes) for task in state.tasks))
    armed = tuple(name for name, _ in timers(state))
    return state.lifecycle, state.step, tasks, requests, stop, state.confirmed, armed, state.task_count, more


def fold(state: Subagent | None, events: tuple[Event, ...]) -> Subagent:
    for event in events:
        state = evolve(state, event)
    assert state is not None
    return state


class Walk:
    """Breadth first over all reachable states; keeps what was seen."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.states: dict[tuple[object, ...], Subagent] = {}
        self.edges: list[tuple[Subagent, Input, tuple[Event, ...], Subagent]] = []
        frontier: list[Subagent] = []
        for policy in (Permissions.ALLOW, Permissions.ASK) if ground.asks else (Permissions.ALLOW,):
            events, _ = decide(None, spawn(policy, ground), 0)
            start = fold(None, events)
            self.states[(policy, key(start))] = start
            frontier.append(start)
        while frontier:
            state = frontier.pop()
            for given, now in moves(state, ground):
                frontier.extend(self.step(state, given, now))

    def step(self, state: Subagent, given: Input, now: int) -> Iterator[Subagent]:
        try:
            events, effects = decide(state, given, now)
        except Rejected:
            assert isinstance(given, Command), f"an observation was rejected: {given}"
            return
        after = fold(state, events)
        begun = {event.task_id for event in events if isinstance(event, TaskStarted)}
        given_now = {Prompt(after.attempt, each.id, each.deliveries) for each in after.tasks if each.id in begun}
        assert len(given_now) == len(begun)
        assert given_now <= set(effects), "a task that is given to its agent by nobody"
        assert set(effects) <= set(outstanding(after)), "an effect that the new state does not call for"
        self.edges.append((state, given, events, after))
        name = (state.permissions, key(after))
        if name not in self.states:
            self.states[name] = after
            yield after


@cache
def walk_over(ground: Ground) -> Walk:
    return Walk(ground)
