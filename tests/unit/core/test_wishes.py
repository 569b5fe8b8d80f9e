"""What a task was refused to reach: asked for once, allowed for it alone, and taken back with it."""

import pytest

from acp_runtime.core.confinement import Egress
from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Permit, Prompt
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import RequestOpened
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    Denied,
    PromptAnswered,
    PromptBroke,
    Reattached,
    Send,
    SessionReady,
)
from acp_runtime.core.model import Order, Permissions, Subagent
from acp_runtime.core.nudge import NudgeKind, nudges_for
from acp_runtime.core.request import RequestKind
from acp_runtime.core.status import Status, status
from acp_runtime.core.timers import outstanding, timers
from acp_runtime.core.wishes import ALLOW, ALWAYS, MOST_UNMET, REFUSE, granted
from tests.histories import REJECT, after, ready, spawn

RULE, OTHER = "api.example.org:443", "api.example.org:8443"
T1, T2 = "bg-0000000000.t1", "bg-0000000000.t2"
NO_EGRESS = Egress()
DONE = PromptAnswered(1, T1, "end_turn", 1)


def at_work(permissions: Permissions = Permissions.ALLOW, egress: Egress | None = NO_EGRESS) -> Subagent:
    order = Order(agent="scripted", workspace="/w", keep=True, egress=egress)
    return ready(spawn(order=order, permissions=permissions))


def asked(state: Subagent, *inputs: object) -> list[str]:
    return [each.rule for each in after(state, *inputs).open_requests]  # type: ignore[arg-type]


@pytest.mark.requirement("D09.32")
def test_a_refusal_asks_the_parent_once_whatever_the_agent_tries_again() -> None:
    assert asked(at_work(), Denied(1, RULE), Denied(1, RULE), Denied(1, OTHER)) == [RULE, OTHER]


def test_what_was_answered_is_not_asked_again_in_the_task_but_in_the_next() -> None:
    for answer in (ALLOW, REFUSE):
        state = after(at_work(), Denied(1, RULE), AnswerRequest("e1", answer, "parent"))
        assert asked(state, Denied(1, RULE)) == []
        assert asked(state, DONE, Send("second"), Denied(1, RULE)) == [RULE]


def test_silence_refuses_it_for_the_task() -> None:
    state = after(at_work(), Denied(1, RULE))
    moment = dict(timers(state))["request"]
    late = after(state, DeadlinePassed(), now=moment)
    assert (late.open_requests, granted(late.active), asked(late, Denied(1, RULE))) == ((), (), [])


def test_an_agent_has_only_so_many_that_were_not_allowed() -> None:
    rules = [f"h{number}.example.org:443" for number in range(MOST_UNMET + 5)]
    state = after(at_work(), *(Denied(1, rule) for rule in rules))
    assert len(state.open_requests) == MOST_UNMET
    state = after(state, AnswerRequest("e1", REFUSE, "parent"))
    assert asked(state, Denied(1, RULE)) == asked(state)
    state = after(state, AnswerRequest("e2", ALLOW, "parent"))
    assert RULE in asked(state, Denied(1, RULE))


@pytest.mark.parametrize(
    "state",
    [
        at_work(Permissions.DENY),
        at_work(egress=None),
        after(at_work(), DONE),
        after(at_work(), CancelTask(T1, "parent", "enough")),
    ],
    ids=["nothing is asked", "there is no proxy", "no task", "a task that is to end"],
)
def test_nobody_is_asked_where_no_answer_could_help(state: Subagent) -> None:
    assert asked(state, Denied(1, RULE)) == []


def test_the_yes_of_a_preset_to_its_agents_questions_opens_no_way() -> None:
    state = after(at_work(Permissions.ALLOW), Denied(1, RULE))
    assert (len(state.open_requests), granted(state.active)) == (1, ())


def test_the_agent_goes_on_and_its_clock_too() -> None:
    state = after(at_work(), Denied(1, RULE))
    assert status(state) is Status.RUNNING
    assert "task" in dict(timers(state))
    held = after(at_work(Permissions.ASK), Asked(1, "1-1", "may I", (REJECT,)), Denied(1, RULE))
    assert (status(held), "task" in dict(timers(held))) == (Status.WAITING, False)
    free = after(held, AnswerRequest("1-1", "r", "parent"))
    assert (status(free), "task" in dict(timers(free))) == (Status.RUNNING, True)


def test_an_answer_that_is_on_its_way_to_the_agent_stays_when_something_is_refused_meanwhile() -> None:
    state = after(at_work(Permissions.ASK), Asked(1, "1-1", "may I", (REJECT,)), AnswerRequest("1-1", "r", "parent"))
    assert set(outstanding(state)) <= set(outstanding(after(state, Denied(1, RULE))))


def test_what_was_allowed_is_reached_until_the_task_ends() -> None:
    state = after(at_work(), Denied(1, RULE), Send("second"))
    _, effects = decide(state, AnswerRequest("e1", ALLOW, "parent"), 0)
    assert effects == (Permit(1, (RULE,)),)
    state = after(state, AnswerRequest("e1", ALLOW, "parent"))
    _, effects = decide(state, DONE, 0)
    assert effects == (Permit(1, ()), Prompt(1, T2))


def test_a_task_that_is_delivered_again_keeps_what_was_allowed_for_it() -> None:
    state = after(at_work(), Denied(1, RULE), AnswerRequest("e1", ALLOW, "parent"), PromptBroke(1, T1, "429"))
    assert granted(state.active) == ()
    assert granted(after(state, DeadlinePassed(), now=dict(timers(state))["retry"]).active) == (RULE,)


def test_a_later_manager_has_it_reached_again() -> None:
    lost = after(at_work(), Denied(1, RULE), AnswerRequest("e1", ALLOW, "parent"), ChannelClosed(1, "gone"))
    assert granted(lost.active) == (RULE,)
    assert Permit(1, (RULE,)) in decide(lost, Reattached(1, adopted=True), 0)[1]


def test_a_refusal_of_an_earlier_attempt_asks_nothing() -> None:
    assert asked(at_work(), Denied(0, RULE)) == []
    assert after(at_work(), SessionReady(1, "s", "agent", "1")).open_requests == ()


def test_only_the_operator_allows_for_good() -> None:
    state = after(at_work(), Denied(1, RULE))
    with pytest.raises(Rejected, match=f"only the operator may allow {RULE} for good") as refused:
        decide(state, AnswerRequest("e1", ALWAYS, "parent"), 0)
    assert refused.value.kind == "needs_operator"
    assert granted(after(state, AnswerRequest("e1", ALWAYS, "operator")).active) == (RULE,)


def test_the_parent_is_told_with_the_narrowest_rule_and_what_may_be_answered() -> None:
    state = at_work()
    (event,), _ = decide(state, Denied(1, RULE), 0)
    assert isinstance(event, RequestOpened)
    assert event.kind is RequestKind.EGRESS
    (nudge,) = nudges_for(state, after(state, Denied(1, RULE)), event)
    assert (nudge.kind, nudge.subject) == (NudgeKind.NEEDS_PERMISSION, "e1")
    assert RULE in nudge.cause
    assert [each.partition(" ")[0] for each in nudge.result.split("; ")] == [ALLOW, REFUSE, ALWAYS]
