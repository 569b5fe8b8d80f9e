"""What callers get back: frozen, typed, read from the projections."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.core.nudge import headline
from acp_runtime.core.status import Status


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task and its fate. `result` is the agent's last message; `cause` says in one sentence why it ended so."""

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

    @property
    def headline(self) -> str:
        """The outcome as people read it."""
        return headline(self.state, self.verdict)


@dataclass(frozen=True, slots=True)
class RequestView:
    """A question of the agent that is open."""

    id: str
    task: str
    title: str


@dataclass(frozen=True, slots=True)
class SubagentView:
    """One subagent as its owner sees it, with its tasks in order. `seq` is the cursor after its newest event."""

    id: str
    name: str
    status: Status
    purpose: str
    agent: str
    workspace: str
    step: str | None
    session_id: str | None
    reason: str | None
    error_kind: str | None
    cause: str
    confirmed: bool
    seq: int
    tasks: tuple[TaskView, ...]
    requests: tuple[RequestView, ...]

    @property
    def newest(self) -> TaskView:
        """The newest task; there is always one."""
        return self.tasks[-1]


def read_subagent(row: Mapping[str, Any], tasks: list[dict[str, Any]], requests: list[dict[str, Any]]) -> SubagentView:
    """Return the view of projection rows."""
    return SubagentView(
        id=row["id"],
        name=row["name"],
        status=Status(row["status"]),
        purpose=row["purpose"],
        agent=row["agent"],
        workspace=row["workspace"],
        step=row["step"],
        session_id=row["session_id"],
        reason=row["reason"],
        error_kind=row["error_kind"],
        cause=row["cause"],
        confirmed=bool(row["confirmed"]),
        seq=row["updated_seq"],
        tasks=tuple(_read_task(task) for task in tasks),
        requests=tuple(RequestView(each["id"], each["task"], each["title"]) for each in requests),
    )


def _read_task(row: Mapping[str, Any]) -> TaskView:
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
    )
