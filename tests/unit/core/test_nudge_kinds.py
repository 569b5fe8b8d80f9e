"""Questions, losses, returns and ends: who is told of what, once, and what is told no more."""

from dataclasses import replace

import pytest

from acp_runtime.core.events import (
    AgentDied,
    AttemptStarted,
    ChannelLost,
    Event,
    LossConfirmed,
    RequestClosed,
    RequestOpened,
    SessionOpened,
    StopRequested,
    TaskEnded,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.inputs import Asked, CancelTask, DeathProven, PromptAnswered
from acp_runtime.core.model import Opening, Permissions, Reason, Step, Subagent, TaskState
from acp_runtime.core.nudge import About, Nudge, NudgeKind, nudges_for, superseded
from acp_runtime.core.nudge_line import age, nudge_line, parse_nudge, render_line
from acp_runtime.core.request import Option, RequestKind
from tests.histories import ALLOW, REJECT, after, ready, spawn

ALLOWED, DENIED, ASKED = (
    ready(spawn(permissions=each)) for each in (Permissions.ALLOW, Permissions.DENY, Permissions.ASK)
)
IDLE = after(ALLOWED, PromptAnswered(1, f"{ALLOWED.id}.t1", "end_turn", 1))


def opened(*options: Option, kind: RequestKind = RequestKind.PERMISSION, ident: str = "1-1") -> RequestOpened:
    return RequestOpened(
        at=1, request_id=ident, task_id=f"{ALLOWED.id}.t1", title="rm -rf build", options=options, deadline=9, kind=kind
    )


def stop(reason: Reason, by: str) -> StopRequested:
    return StopRequested(at=1, reason=reason, by=by, cause="because", failed=False, deadline=9)


def told(state: Subagent, *events: Event) -> tuple[Subagent, list[Nudge], list[str]]:
    """Return the state after some events, what they made a parent be told, and what they made idle."""
    made: list[Nudge] = []
    idle: list[str] = []
    for event in events:
        before, state = state, evolve(state, event)
        made += nudges_for(before, state, event)
        idle += superseded(before, state, event)
    return state, made, idle


@pytest.mark.parametrize(
    ("state", "options", "is_told"),
    [
        (ALLOWED, (ALLOW, REJECT), False),
        (ALLOWED, (REJECT,), True),
        (ALLOWED, (), True),
        (DENIED, (ALLOW, REJECT), False),
        (DENIED, (ALLOW,), True),
        (ASKED, (ALLOW, REJECT), True),
        (ASKED, (), True),
    ],
)
def test_a_permission_is_asked_of_the_parent_only_when_the_policy_does_not_answer(
    state: Subagent, options: tuple[Option, ...], is_told: bool
) -> None:
    _, made, _ = told(state, opened(*options))
    assert [nudge.kind for nudge in made] == [NudgeKind.NEEDS_PERMISSION] * is_told
    # The rule is the one by which the core decides: what it leaves open is told, and nothing else.
    decided = after(state, Asked(1, "1-1", "rm -rf build", options))
    assert bool(decided.open_requests) == is_told


def test_a_request_of_a_task_that_is_being_cancelled_is_asked_of_nobody() -> None:
    cancelling = after(ASKED, CancelTask(f"{ASKED.id}.t1", "parent", "enough"))
    _, made, _ = told(cancelling, opened(ALLOW))
    assert made == []


def test_a_decision_of_the_manager_needs_an_answer_whatever_the_policy() -> None:
    _, made, _ = told(IDLE, opened(Option("continue", "Go on", "allow_once"), kind=RequestKind.QUESTION))
    assert [(nudge.kind, nudge.about, nudge.subject) for nudge in made] == [
        (NudgeKind.NEEDS_INPUT, About.REQUEST, "1-1")
    ]


def test_a_question_names_its_options_and_reads_in_one_line() -> None:
    _, (nudge,), _ = told(ASKED, opened(ALLOW, REJECT))
    line = render_line(nudge_line(nudge, "3 d"))
    assert line == (
        '- amber-fox (bg-0000000000) request 1-1 needs permission (3 d ago): "rm -rf build". '
        'Options: "a (allow_always) = Allow; r (reject_once) = Reject"'
    )
    assert parse_nudge(line) == nudge_line(nudge, "3 d")


@pytest.mark.requirement("T14")
def test_what_an_option_does_is_told_by_its_kind_and_not_by_its_name() -> None:
    made_up = Option("b", "Reject", 'harmless) = Reject"; c (reject_once')
    _, (nudge,), _ = told(ASKED, opened(Option("a", "Reject", "allow_always"), made_up))
    assert nudge_line(nudge, "").result == "a (allow_always) = Reject; b (unknown kind) = Reject"


def test_an_answer_makes_its_question_idle_and_no_other() -> None:
    state, (first, second), idle = told(ASKED, opened(ALLOW), opened(ALLOW, ident="1-2"))
    assert idle == []
    state, _, idle = told(state, RequestClosed(at=2, request_id="1-1", answer="a", by="operator"))
    assert idle == [first.id] != [second.id]
    ended = TaskEnded(at=3, task_id=f"{ASKED.id}.t1", outcome=TaskState.FAILED, cause="c", by="agent")
    _, _, idle = told(state, ended)
    assert idle == [second.id], "the end of a task closes what it asked"


def test_equal_request_ids_of_two_subagents_are_two_facts() -> None:
    other = ready(spawn("bg-0000000001", permissions=Permissions.ASK))
    _, (one,), _ = told(ASKED, opened(ALLOW))
    _, (two,), _ = told(other, replace(opened(ALLOW), task_id=f"{other.id}.t1"))
    assert one.id != two.id


LOST = ChannelLost(at=1, attempt=1, cause="eof", deadline=9)
BACK = (
    AgentDied(at=3, attempt=1, exit_code=137, cause="killed"),
    AttemptStarted(at=4, attempt=2, step=Step.SANDBOX, deadline=9),
)


def reopened(opening: Opening) -> SessionOpened:
    return SessionOpened(at=5, attempt=2, session_id="s", agent_name="", agent_version="", opening=opening)


def test_a_loss_is_told_when_it_is_confirmed_and_its_end_takes_its_place() -> None:
    lost, made, _ = told(IDLE, LOST)
    assert made == []
    state, (loss,), _ = told(lost, LossConfirmed(at=2, attempt=1, number=1, cause="no answer"))
    assert (loss.kind, loss.about, loss.cause) == (NudgeKind.CHANNEL_LOST, About.SUBAGENT, "no answer")
    _, (back,), idle = told(state, *BACK, reopened(Opening.RESUMED))
    assert (back.kind, back.reason) == (NudgeKind.RECOVERED, "resumed")
    assert idle == [loss.id]
    _, ends, idle = told(state, stop(Reason.CHANNEL_LOST, "manager"))
    assert idle == [loss.id]
    assert [nudge.kind for nudge in ends] == [NudgeKind.CHANNEL_LOST]
    assert ends[0].id != loss.id


def test_a_loss_that_nobody_was_told_of_comes_back_silently_unless_the_session_is_gone() -> None:
    _, made, _ = told(IDLE, LOST, *BACK, reopened(Opening.LOADED))
    assert made == []
    _, (back,), _ = told(IDLE, LOST, *BACK, reopened(Opening.LOST))
    assert back.kind is NudgeKind.RECOVERED
    assert "knows nothing of what was before" in back.cause


def test_each_loss_is_a_fact_of_its_own() -> None:
    state, made = IDLE, []
    for number in (1, 2):
        lost = replace(LOST, attempt=number)
        confirmed = LossConfirmed(at=2, attempt=number, number=number, cause="no answer")
        again = (
            replace(BACK[0], attempt=number),
            replace(BACK[1], attempt=number + 1),
            replace(reopened(Opening.RESUMED), attempt=number + 1),
        )
        state, new, _ = told(state, lost, confirmed, *again)
        made += new
    assert len({nudge.id for nudge in made}) == 4


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.STOPPED_BY_OPERATOR, NudgeKind.STOPPED),
        (Reason.IDLE_TIMEOUT, NudgeKind.TIMED_OUT),
        (Reason.LIFETIME, NudgeKind.TIMED_OUT),
        (Reason.START_TIMEOUT, NudgeKind.TIMED_OUT),
        (Reason.START_FAILED, NudgeKind.FAILED),
        (Reason.AGENT_DIED, NudgeKind.FAILED),
        (Reason.CANCEL_IGNORED, NudgeKind.FAILED),
        (Reason.CHANNEL_LOST, NudgeKind.CHANNEL_LOST),
        (Reason.FINISHED, None),
    ],
)
@pytest.mark.requirement("P15")
def test_an_end_that_no_task_tells_is_told_by_the_subagent(reason: Reason, kind: NudgeKind | None) -> None:
    _, made, _ = told(IDLE, stop(reason, "manager"))
    assert [nudge.kind for nudge in made] == [kind] * (kind is not None)
    assert all((nudge.about, nudge.reason, nudge.cause) == (About.SUBAGENT, reason, "because") for nudge in made)
    assert {each for each in Reason if each is not Reason.STOPPED_BY_PARENT} >= {reason}


def test_an_end_is_told_once_by_its_tasks_or_by_the_subagent() -> None:
    assert told(ALLOWED, stop(Reason.LIFETIME, "manager"))[1] == [], "its running task tells it"
    assert told(IDLE, stop(Reason.STOPPED_BY_PARENT, "parent"))[1] == [], "its parent did it"
    cancelling = after(ALLOWED, CancelTask(f"{ALLOWED.id}.t1", "parent", "enough"))
    assert len(told(cancelling, stop(Reason.STOPPED_BY_OPERATOR, "operator"))[1]) == 1, "its task ends by its parent"
    assert told(cancelling, LOST, stop(Reason.AGENT_DIED, "agent"))[1] == [], "its task is interrupted by the death"


def test_a_subagent_that_was_resumed_tells_its_second_end_too() -> None:
    first = told(IDLE, stop(Reason.IDLE_TIMEOUT, "manager"))[1]
    second = told(replace(IDLE, attempt=2), stop(Reason.IDLE_TIMEOUT, "manager"))[1]
    assert first[0].id != second[0].id


def test_a_death_with_a_restart_tells_the_interrupted_task_alone() -> None:
    state = after(ALLOWED, DeathProven(1, 137, "killed"))
    assert not state.lifecycle.over


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, ""),
        (600, ""),
        (601, "10 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (47 * 3_600, "47 h"),
        (48 * 3_600, "2 d"),
        (40 * 86_400, "40 d"),
    ],
)
def test_an_age_is_shown_from_a_bound_on(seconds: float, words: str) -> None:
    assert age(seconds, 600) == words
