"""Histories of a subagent that did not happen: a first state, and inputs that go anywhere a state allows."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from acp_runtime.core.budget import Budget, Used
from acp_runtime.core.confinement import Egress
from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Effect
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import Event
from acp_runtime.core.evolve import evolve
from acp_runtime.core.form import options_of
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    CancelTask,
    ChannelClosed,
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
)
from acp_runtime.core.logins import AGAIN, GIVE_UP
from acp_runtime.core.model import Limits, Opening, Order, Permissions, Reason, Steering, Step, Subagent
from acp_runtime.core.request import Choice, Field, FieldType, Option, RequestKind
from acp_runtime.core.timers import next_deadline
from acp_runtime.core.transcript import Entry, MessageEntry, OtherEntry, PlanEntry, PlanItem, ToolEntry
from acp_runtime.core.wishes import ALLOW as ALLOW_IT
from acp_runtime.core.wishes import ALWAYS, REFUSE

MAX_TASKS = 5
MAX_ATTEMPTS = 6
REACHING = Order(agent="scripted", workspace="/w", keep=True, egress=Egress())
RULES = ("a.example.org:443", "b.example.org:443", "b.example.org:80")
ALLOW, REJECT = Option("a", "Allow", "allow_always"), Option("r", "Reject", "reject_once")
FIELDS = (
    Field("colour", FieldType.TEXT, choices=(Choice("red", "Red"),)),
    Field("other", FieldType.TEXT),
)
FORM = options_of(FIELDS)
ENTRIES: tuple[Entry, ...] = (
    MessageEntry("agent", "so far so good. "),
    MessageEntry("thought", "hm"),
    ToolEntry("t1", title="build", status="in_progress"),
    ToolEntry("t1", status="completed"),
    ToolEntry("t2", status="failed"),
    PlanEntry((PlanItem("first", "pending"),)),
    OtherEntry("usage_update", "{}"),
)
# How often an input is tried: the dull ends come last, so that histories grow long before they end.
WEIGHTS = {
    Heard: 10,
    PromptAnswered: 8,
    Asked: 6,
    Send: 6,
    AnswerRequest: 5,
    SessionReady: 5,
    CancelTask: 2,
    DeadlinePassed: 2,
    StopSubagent: 0.5,
}


def spawn(ident: str = "bg-0000000000", *, parent: str = "p", limits: Limits | None = None, **changes: object) -> Spawn:
    given: dict[str, object] = {
        "id": ident,
        "parent": parent,
        "name": "amber-fox",
        "purpose": "walk",
        "order": Order(agent="scripted", workspace="/w", keep=True, budget=Budget(tokens=900, soft_tokens=500)),
        "permissions": Permissions.ALLOW,
        "limits": limits or Limits(),
        "task": "first",
    }
    return Spawn(**{**given, **changes})  # type: ignore[arg-type]


def fold(state: Subagent | None, events: tuple[Event, ...]) -> Subagent:
    for event in events:
        state = evolve(state, event)
    assert state is not None
    return state


def born(given: Spawn | None = None) -> Subagent:
    """Return a subagent whose first attempt is starting."""
    return fold(None, decide(None, given or spawn(), 0)[0])


def after(state: Subagent, *inputs: Input, now: int = 0) -> Subagent:
    """Return the state after some inputs, all at one moment."""
    for given in inputs:
        state = fold(state, decide(state, given, now)[0])
    return state


def ready(given: Spawn | None = None) -> Subagent:
    """Return a subagent whose agent works on its first task."""
    return after(born(given), SessionReady(1, "s", "agent", "1"))


def moves(state: Subagent, random: Random) -> list[Input]:
    """Return every kind of input, some of them late, stale or about nothing."""
    attempt = state.attempt - (random.random() < 0.1)
    task = random.choice([f"{state.id}.t{number}" for number in range(1, state.task_count + 2)])
    request = random.choice([each.id for each in state.open_requests] or ["1-0"])
    option = random.choice(["continue", "drop"] if state.question is not None else ["a", "r"])
    if any(each.id == request and each.kind is RequestKind.LOGIN for each in state.open_requests):
        option = random.choice([AGAIN, GIVE_UP])
    if any(each.id == request and each.kind is RequestKind.EGRESS for each in state.open_requests):
        option = random.choice([ALLOW_IT, ALWAYS, REFUSE])
    written = ""
    if any(each.id == request and each.kind is RequestKind.FORM for each in state.open_requests):
        option, written = random.choice([("1", ""), ("decline", ""), ("", "blue")])
    steer = random.choice([each.id for each in state.steers] or [f"{state.id}.s1"])
    reason = random.choice(["end_turn"] * 5 + ["refusal", "max_tokens", "cancelled", "made_up"])
    found: list[Input] = [
        StepBegan(attempt, random.choice(list(Step))),
        SessionReady(attempt, "s", "agent", "1", random.choice(list(Opening)), steering=random.random() < 0.5),
        StartBroke(attempt, "broke", random.choice(["start_failed", "manager_ended", "login_expired"])),
        Heard(attempt, tuple(random.choices(ENTRIES, k=random.randrange(1, 4)))),
        Asked(attempt, f"{attempt}-{random.randrange(1_000_000)}", "may I", random.choice([(ALLOW,), (REJECT,), ()])),
        Asked(attempt, f"{attempt}-{random.randrange(1_000_000)}", "which", FORM, kind=RequestKind.FORM, fields=FIELDS),
        Denied(attempt, random.choice(RULES)),
        LoginExpired(attempt, "log in again"),
        LoginRenewed(request),
        PromptAnswered(attempt, task, reason, random.choice([None, 0, 2]), "", random.choice([0, 0, 0, 1])),
        PromptBroke(attempt, task, random.choice(["error", "429 slow down"])),
        PromptLaid(attempt, task, random.randrange(1, 100), random.randrange(1_000)),
        ChannelClosed(attempt, "eof"),
        Reattached(attempt, adopted=random.random() < 0.5, undelivered=random.random() < 0.3),
        Refused(attempt, random.choice(["its holder refused this manager", "its holder refused it again"])),
        DeathProven(
            attempt,
            random.choice([None, 137]),
            "killed",
            kept=random.random() < 0.5,
            accepted=random.choice([None, 0, 500, 1_000]),
        ),
        Halted(
            attempt,
            confirmed=random.random() < 0.7,
            exported=random.random() < 0.7,
            accepted=random.choice([None, None, 0, 1_000]),
        ),
        SteerAnswered(attempt, steer, random.choice([Steering.INJECTED, Steering.QUEUED])),
        ModelUsed(Used(tokens=random.randrange(1_000)), random.choice(["", "", "its budget is used up"])),
        DeadlinePassed(),
        CancelTask(task, random.choice(["parent", "operator"]), "enough"),
        StopSubagent(random.choice([Reason.STOPPED_BY_PARENT, Reason.FINISHED]), "parent", "done"),
        AnswerRequest(request, option, "operator", written),
    ]
    if not state.period:
        found.append(SetBudget(Budget(tokens=random.randrange(1, 1_000)), "operator"))
    if state.task_count < MAX_TASKS:
        found += [Send("another"), SteerTask("another way", "parent")]
        if state.attempt < MAX_ATTEMPTS:
            found.append(ResumeSubagent("again", "parent"))
    return found


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: what came in, when, and what followed."""

    before: Subagent
    given: Input
    now: int
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    after: Subagent


def walk(random: Random, first: Spawn, steps: int) -> Iterator[Decision]:
    """Wander from a spawn; rejected commands are left out. Time only goes forward."""
    now = random.randrange(1_000)
    state = born(first)
    for _ in range(steps):
        options = moves(state, random)
        given = random.choices(options, [WEIGHTS.get(type(each), 1) for each in options])[0]
        deadline = next_deadline(state)
        if isinstance(given, DeadlinePassed) and deadline is not None:
            now = max(now, deadline)
        now += random.randrange(2_000)
        try:
            events, effects = decide(state, given, now)
        except Rejected:
            continue
        before, state = state, fold(state, events)
        yield Decision(before, given, now, events, effects, state)
        if state.lifecycle.over and random.random() < 0.2:
            return
