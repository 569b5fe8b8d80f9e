"""Budgets: what counts, when a bound is reached, and what follows for the subagent."""

import pytest

from acp_runtime.core.budget import Allowance, Bound, Budget, Scope, Used, dollars, nanos
from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Permit
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import BudgetChanged, BudgetReached, CallRefused, TaskEnded, TaskRetried
from acp_runtime.core.inputs import (
    CancelTask,
    ChannelClosed,
    Halted,
    ModelUsed,
    PromptAnswered,
    PromptBroke,
    Reattached,
    SetBudget,
    StopSubagent,
)
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.core.model import Order, Reason, TaskState
from acp_runtime.core.nudge import NudgeKind, nudges_for
from acp_runtime.core.telling import tell
from tests.histories import after, fold, ready, spawn

DOLLAR = nanos(1)
ORDER = Order(agent="scripted", workspace="/w", budget=Budget(tokens=1_000, soft_tokens=800, cost=DOLLAR))
WHY = "the budget of 1,000 tokens is used up (1,200 used)"


def call(**fields: object) -> Call:
    return Call(**({"subagent": "s", "began": 0, "model": "m", "end": CallEnd.ANSWERED} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "used"),
    [
        (call(usage=Usage(1, 2, 3, 4, reasoning=4), cost=5), Used(11, 6)),
        (call(estimate=9, cost=0, estimate_cost=7), Used(10, 8)),
        (call(end=CallEnd.BROKEN, usage=Usage(1), cost=2, estimate=3, estimate_cost=4), Used(5, 7)),
        (call(usage=Usage(1)), Used(2, 1, "m")),
        (call(usage=Usage(1), model=""), Used(2, 1, "?")),
        (call(end=CallEnd.FAILED), Used(1, 1)),
        (call(end=CallEnd.REFUSED), Used(1, 1)),
        (call(end=CallEnd.OVER_BUDGET), Used(1, 1)),
    ],
)
def test_what_counts_is_what_a_provider_may_charge(made: Call, used: Used) -> None:
    assert made.on_top_of(Used(1, 1)) == used


@pytest.mark.parametrize(
    ("budget", "used", "reached", "refused"),
    [
        (Budget(), Used(10**9, 10**15, "m"), (), None),
        (Budget(tokens=10), Used(9), (), None),
        (Budget(tokens=10), Used(10), (Bound.TOKENS,), "the budget of 10 tokens is used up (10 used)"),
        (Budget(soft_tokens=5, tokens=10), Used(7), (Bound.SOFT_TOKENS,), None),
        (Budget(tokens=10), Used(0, 10**15, "m"), (), None),
        (Budget(cost=DOLLAR), Used(0, DOLLAR - 1), (), None),
        (Budget(cost=DOLLAR), Used(0, 2 * DOLLAR), (Bound.COST,), "the budget of $1.00 is used up ($2.00 used)"),
        (Budget(soft_cost=DOLLAR), Used(0, 0, "m"), (), None),
        (
            Budget(cost=DOLLAR),
            Used(0, 0, "m"),
            (Bound.COST,),
            'the budget is $1.00, and the price of the model m is not known; add [prices."m"] to the configuration',
        ),
    ],
)
def test_a_soft_bound_is_told_and_a_hard_one_refuses(
    budget: Budget, used: Used, reached: tuple[Bound, ...], refused: str | None
) -> None:
    assert (budget.reached(used), Allowance(Scope.AGENT, "s", budget, used).refusal) == (reached, refused)


def test_bounds_that_make_no_sense_are_named() -> None:
    assert list(Budget(tokens=1, cost=1, soft_cost=2).mistakes()) == [
        "the soft budget is not below the hard one, so it would tell nothing"
    ]
    assert list(Budget(tokens=0).mistakes()) == ["the budget's tokens is 0; it must be more than 0"]
    assert list(Budget(tokens=5, soft_tokens=4).mistakes()) == []


def test_a_narrower_level_goes_before_a_usual_one_and_leaves_no_idle_bound() -> None:
    usual = Budget(tokens=100, soft_tokens=80, cost=7)
    assert Budget().filled(usual) == usual
    assert Budget(tokens=50).filled(usual) == Budget(tokens=50, cost=7)
    assert Budget(tokens=500).filled(usual) == Budget(tokens=500, soft_tokens=80, cost=7)


def test_what_is_wider_is_named_with_both_bounds() -> None:
    most = Budget(tokens=1_000, cost=DOLLAR)
    assert list(Budget(tokens=1_000, cost=1).wider_than(most)) == []
    assert list(Budget(tokens=2_000).wider_than(most)) == [
        "a budget of 2,000 tokens where 1,000 tokens is allowed",
        "a budget of any cost where $1.00 is allowed",
    ]
    assert list(Budget().wider_than(Budget())) == []


def test_amounts_are_shown_exactly() -> None:
    shown = [dollars(amount) for amount in (0, nanos(1.5), nanos(0.001), nanos(1234.5), 1)]
    assert shown == ["$0.00", "$1.50", "$0.001", "$1,234.50", "$0.000000001"]
    assert str(Budget(1_000, DOLLAR, 500, None)) == "1,000 tokens, $1.00, soft 500 tokens"
    assert str(Budget()) == ""


@pytest.mark.requirement("D06.11")
def test_each_bound_is_told_once_in_the_fact_that_it_is_reached() -> None:
    state, kinds = ready(spawn(order=ORDER)), []
    for used in (Used(799), Used(800), Used(900), Used(1_000), Used(1_200, 2 * DOLLAR), Used(1_300, 2 * DOLLAR)):
        events, _ = decide(state, ModelUsed(used), 0)
        for event in events:
            before, state = state, fold(state, (event,))
            kinds += [(nudge.kind, nudge.reason, nudge.headline) for nudge in nudges_for(before, state, event)]
    assert kinds == [
        (NudgeKind.BUDGET, "soft_tokens", "has reached its soft budget"),
        (NudgeKind.BUDGET, "tokens", "has used up its budget"),
        (NudgeKind.BUDGET, "cost", "has used up its budget"),
    ]


CHANGES = (
    (Budget(tokens=10), Budget(tokens=20), (), Budget(tokens=20)),
    (Budget(tokens=10, cost=5), Budget(cost=7), (), Budget(tokens=10, cost=7)),
    (Budget(tokens=10, cost=5), Budget(), (Bound.TOKENS,), Budget(cost=5)),
    (Budget(tokens=10, soft_tokens=8), Budget(tokens=6), (), Budget(tokens=6)),
    (Budget(tokens=10), Budget(soft_tokens=4), (Bound.COST,), Budget(tokens=10, soft_tokens=4)),
)


@pytest.mark.parametrize(("before", "bounds", "without", "after_it"), CHANGES)
def test_a_change_leaves_what_it_does_not_name(
    before: Budget, bounds: Budget, without: tuple[Bound, ...], after_it: Budget
) -> None:
    assert before.changed(bounds, without) == after_it


@pytest.mark.requirement("D06.11")
def test_a_bound_that_was_reached_and_then_changed_is_told_anew_and_another_one_is_not() -> None:
    state, told = ready(spawn(order=ORDER)), []
    raised = Budget(tokens=2_000, soft_tokens=800, cost=DOLLAR)
    for given in (
        ModelUsed(Used(1_000)),
        SetBudget(raised, "operator"),
        ModelUsed(Used(1_000)),
        ModelUsed(Used(2_000)),
    ):
        for event in decide(state, given, 0)[0]:
            before, state = state, fold(state, (event,))
            told += nudges_for(before, state, event)
    assert [each.reason for each in told] == ["soft_tokens", "tokens", "tokens"]
    assert len({each.id for each in told}) == len(told)
    assert told[-1].cause == "the budget of 2,000 tokens is used up (2,000 used)"


def test_a_changed_budget_is_called_for_as_long_as_the_agent_is_in_reach_and_again_after_a_loss() -> None:
    state = ready(spawn(order=ORDER))
    change = SetBudget(Budget(tokens=5), "parent")
    assert decide(state, change, 0)[1] == (Permit(1, (), 1),)
    state = after(state, change)
    assert decide(state, change, 0) == ((), ()), "the same budget again is no change"
    lost = after(state, ChannelClosed(1, "eof"))
    assert Permit(1, (), 1) in decide(lost, Reattached(1, adopted=True), 0)[1]
    stop = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"), Halted(1, confirmed=True)
    with pytest.raises(Rejected, match="no longer running"):
        decide(after(state, *stop), SetBudget(Budget(), "operator"), 0)


ENDS = (
    PromptAnswered(1, "bg-0000000000.t1", "end_turn", 1),
    PromptAnswered(1, "bg-0000000000.t1", "refusal", 0),
    PromptBroke(1, "bg-0000000000.t1", "the model answered 400"),
    PromptBroke(1, "bg-0000000000.t1", "429 too many requests of 500 tokens"),
)


@pytest.mark.requirement("D09.16")
@pytest.mark.parametrize("answer", ENDS)
def test_a_task_in_which_a_call_was_refused_fails_and_names_the_budget_whatever_the_agent_says(answer: object) -> None:
    state = ready(spawn(order=ORDER))
    events, _ = decide(state, ModelUsed(Used(1_200), WHY), 0)
    assert [type(event) for event in events] == [BudgetReached, BudgetReached, CallRefused]
    state = fold(state, events)
    (ended,) = (event for event in decide(state, answer, 0)[0] if isinstance(event, TaskEnded | TaskRetried))  # type: ignore[arg-type]
    assert isinstance(ended, TaskEnded)
    assert (ended.outcome, ended.cause) == (TaskState.FAILED, WHY)


def test_a_task_that_used_up_the_budget_and_asked_no_more_is_done() -> None:
    state = after(ready(spawn(order=ORDER)), ModelUsed(Used(1_200)), ENDS[0])
    assert state.tasks[-1].state is TaskState.COMPLETED


def test_a_cancel_goes_before_what_a_refusal_makes_of_a_task() -> None:
    asked = ModelUsed(Used(1_200), WHY), CancelTask("bg-0000000000.t1", "parent", "enough"), ENDS[2]
    assert after(ready(spawn(order=ORDER)), *asked).tasks[-1].state is TaskState.CANCELLED


def test_after_the_end_and_between_tasks_a_refusal_changes_nothing() -> None:
    idle = after(ready(spawn(order=ORDER)), ENDS[0], ModelUsed(Used(1_200)))
    assert decide(idle, ModelUsed(Used(1_200), WHY), 0)[0] == ()
    stop = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"), Halted(1, confirmed=True)
    over = after(ready(spawn(order=ORDER)), *stop)
    assert decide(over, ModelUsed(Used(1_200), WHY), 0)[0] == ()


def test_what_happened_is_told_in_the_log_of_the_subagent() -> None:
    told = [
        tell(BudgetReached(at=0, bound=Bound.COST, cause="it is"), lambda _: ""),
        tell(CallRefused(at=0, task_id="t", cause="it is"), lambda _: ""),
        tell(BudgetChanged(at=0, budget=Budget(tokens=5), by="operator", period=1), lambda _: ""),
    ]
    assert [(each.kind, each.text) for each in told if each] == [
        ("budget_reached", "it is"),
        ("call_refused", "it is"),
        ("budget_changed", "5 tokens"),
    ]
