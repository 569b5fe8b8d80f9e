"""Which facts are told to a parent, under which id, in which words."""

from dataclasses import replace

import pytest

from acp_runtime.core.events import TaskEnded
from acp_runtime.core.model import Evidence, Subagent, Task, TaskState, Verdict
from acp_runtime.core.nudge import Nudge, NudgeKind, headline, nudges_for
from acp_runtime.core.nudge_line import nudge_line, render_line
from tests.histories import born

TASK = "bg-0000000000.t1"


def ended(outcome: TaskState, by: str = "agent", verdict: Verdict | None = None) -> TaskEnded:
    return TaskEnded(at=1, task_id=TASK, outcome=outcome, cause="because", by=by, verdict=verdict)


def nudge_for(state: Subagent, event: TaskEnded) -> Nudge | None:
    found = nudges_for(state, state, event)
    assert len(found) <= 1
    return found[0] if found else None


def render_nudge(nudge: Nudge, age: str) -> str:
    return render_line(nudge_line(nudge, age))


def worked(text: str = "Here it is.") -> Subagent:
    return replace(born(), tasks=(Task(TASK, 1, "do", evidence=Evidence(text=text)),))


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (TaskState.COMPLETED, NudgeKind.COMPLETED),
        (TaskState.FAILED, NudgeKind.FAILED),
        (TaskState.INTERRUPTED, NudgeKind.FAILED),
        (TaskState.CANCELLED, NudgeKind.FAILED),
        (TaskState.REFUSED, NudgeKind.REFUSED),
        (TaskState.TIMED_OUT, NudgeKind.TIMED_OUT),
    ],
)
def test_every_end_of_a_task_is_told_as_one_kind(outcome: TaskState, kind: NudgeKind) -> None:
    nudge = nudge_for(worked(), ended(outcome))
    assert nudge is not None
    assert (nudge.kind, nudge.subject, nudge.cause, nudge.result) == (kind, TASK, "because", "Here it is.")


def test_the_kinds_cover_every_end_that_a_task_can_have() -> None:
    for outcome in TaskState:
        if outcome.over:
            assert nudge_for(worked(), ended(outcome)) is not None


@pytest.mark.parametrize("outcome", [state for state in TaskState if state.over])
def test_what_the_parent_did_itself_is_no_nudge(outcome: TaskState) -> None:
    assert nudge_for(worked(), ended(outcome, by="parent")) is None


@pytest.mark.parametrize("by", ["agent", "manager", "operator", "policy", "deadline"])
def test_what_anybody_else_did_is_a_nudge(by: str) -> None:
    assert nudge_for(worked(), ended(TaskState.CANCELLED, by=by)) is not None


def test_one_fact_has_one_id_whatever_else_is_known_of_it() -> None:
    first = nudge_for(worked(), ended(TaskState.COMPLETED))
    second = nudge_for(worked("other"), replace(ended(TaskState.FAILED), at=99, cause="else"))
    assert first is not None
    assert second is not None
    assert first.id == second.id


@pytest.mark.parametrize(
    ("outcome", "verdict", "words"),
    [
        (TaskState.COMPLETED, Verdict.FULL, "completed"),
        (TaskState.COMPLETED, None, "completed"),
        (TaskState.COMPLETED, Verdict.EMPTY, "completed (empty)"),
        (TaskState.COMPLETED, Verdict.SUSPECT, "completed (suspect)"),
        (TaskState.TIMED_OUT, None, "timed out"),
        (TaskState.INTERRUPTED, None, "interrupted"),
        (TaskState.FAILED, Verdict.SUSPECT, "failed"),
    ],
)
def test_the_headline_says_what_a_completion_is_worth(outcome: TaskState, verdict: Verdict | None, words: str) -> None:
    assert headline(outcome, verdict) == words


def test_a_nudge_names_subagent_task_outcome_cause_and_first_words() -> None:
    nudge = nudge_for(worked('Said "this"\nand more'), ended(TaskState.COMPLETED, verdict=Verdict.SUSPECT))
    assert nudge is not None
    assert render_nudge(nudge, "") == (
        f'- amber-fox (bg-0000000000) task {TASK} completed (suspect): "because". It said: "Said \'this\' and more"'
    )


def test_a_full_completion_needs_no_cause_and_a_silent_one_quotes_nothing() -> None:
    nudge = nudge_for(worked(" \n "), ended(TaskState.COMPLETED, verdict=Verdict.FULL))
    assert nudge is not None
    assert render_nudge(nudge, "2 h") == f"- amber-fox (bg-0000000000) task {TASK} completed (2 h ago)"
