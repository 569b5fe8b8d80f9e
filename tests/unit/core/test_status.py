"""The one word for people, derived from both machines."""

from dataclasses import replace

import pytest

from acp_runtime.core.model import Lifecycle, Reason, Stop, Subagent, Task, TaskState
from acp_runtime.core.request import Option, Request
from acp_runtime.core.status import Status, status
from tests.histories import born

QUESTION = Request("1-1", "bg-0000000000.t1", "may I", (Option("r", "Reject", "reject_once"),), deadline=9)
ANSWERED = replace(QUESTION, answer="r")


def with_tasks(lifecycle: Lifecycle, *states: TaskState, requests: tuple[Request, ...] = ()) -> Subagent:
    tasks = tuple(Task(f"bg-0000000000.t{n}", n, "x", state=state) for n, state in enumerate(states, start=1))
    return replace(born(), lifecycle=lifecycle, tasks=tasks, requests=requests)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (with_tasks(Lifecycle.REQUESTED, TaskState.QUEUED), Status.STARTING),
        (with_tasks(Lifecycle.STARTING, TaskState.QUEUED), Status.STARTING),
        (with_tasks(Lifecycle.READY, TaskState.COMPLETED), Status.IDLE),
        (with_tasks(Lifecycle.READY), Status.IDLE),
        (with_tasks(Lifecycle.READY, TaskState.QUEUED), Status.RUNNING),
        (with_tasks(Lifecycle.READY, TaskState.RUNNING), Status.RUNNING),
        (with_tasks(Lifecycle.READY, TaskState.RUNNING, requests=(QUESTION,)), Status.WAITING),
        (with_tasks(Lifecycle.READY, TaskState.RUNNING, requests=(ANSWERED,)), Status.RUNNING),
        (with_tasks(Lifecycle.READY, TaskState.CANCELLING, requests=(QUESTION,)), Status.RUNNING),
        (with_tasks(Lifecycle.LOST, TaskState.RUNNING, requests=(QUESTION,)), Status.LOST),
    ],
)
def test_the_status_of_a_living_subagent(state: Subagent, expected: Status) -> None:
    assert status(state) is expected
    assert not expected.over


@pytest.mark.parametrize("lifecycle", [Lifecycle.STOPPING, Lifecycle.STOPPED, Lifecycle.FAILED])
@pytest.mark.parametrize(
    ("reason", "failed", "expected"),
    [
        (Reason.FINISHED, False, Status.COMPLETED),
        (Reason.STOPPED_BY_PARENT, False, Status.STOPPED),
        (Reason.STOPPED_BY_OPERATOR, False, Status.STOPPED),
        (Reason.IDLE_TIMEOUT, False, Status.TIMED_OUT),
        (Reason.LIFETIME, False, Status.TIMED_OUT),
        (Reason.START_TIMEOUT, True, Status.TIMED_OUT),
        (Reason.START_FAILED, True, Status.ERROR),
        (Reason.AGENT_DIED, True, Status.ERROR),
        (Reason.CHANNEL_LOST, True, Status.ERROR),
        (Reason.CANCEL_IGNORED, True, Status.ERROR),
    ],
)
def test_the_status_of_an_end_is_its_reason(
    lifecycle: Lifecycle, reason: Reason, failed: bool, expected: Status
) -> None:
    ended = replace(born(), lifecycle=lifecycle, stop=Stop(reason, "someone", "why", failed, 0))
    assert status(ended) is expected
    assert expected.over
