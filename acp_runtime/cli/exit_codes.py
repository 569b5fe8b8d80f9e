"""The exit codes of the command line, in one table."""

from enum import IntEnum

from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.views import SubagentView, TaskView


class Exit(IntEnum):
    """What the exit code says; `docs/cli.md` shows this table."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    EMPTY = 3
    REFUSED = 4
    NEEDS_ANSWER = 5
    UNKNOWN = 7
    ENGINE = 69
    TIMED_OUT = 124
    CANCELLED = 130
    TERMINATED = 143


MEANINGS: dict[Exit, str] = {
    Exit.DONE: "the task is done",
    Exit.FAILED: "the task or the check after it failed, or the work could not be handed over",
    Exit.USAGE: "the command line or the configuration is wrong; nothing was started",
    Exit.EMPTY: "completed, but empty or suspect (see --allow-empty)",
    Exit.REFUSED: "the agent refused the task",
    Exit.NEEDS_ANSWER: "the agent needs an answer or a login",
    Exit.UNKNOWN: "the agent or its sandbox was lost; the outcome is unknown",
    Exit.ENGINE: "the container engine or an image cannot be used",
    Exit.TIMED_OUT: "a deadline passed",
    Exit.CANCELLED: "cancelled by Ctrl-C",
    Exit.TERMINATED: "stopped by SIGTERM or SIGHUP",
}

# The kinds of errors at a start, from `sandbox.errors` and the launchers, that are no fault of agent or task.
ENGINE_KINDS = frozenset(
    {
        "engine_error", "engine_unreachable", "engine_denied", "engine_timeout", "engine_refused", "name_taken",
        "image_missing", "relay_missing", "runtime_dir", "setting_refused", "sockets_not_shared",
    }
)  # fmt: skip

_STATES = {
    TaskState.REFUSED: Exit.REFUSED,
    TaskState.TIMED_OUT: Exit.TIMED_OUT,
    TaskState.INTERRUPTED: Exit.UNKNOWN,
}


def exit_for(view: SubagentView, *, allow_empty: bool) -> Exit:
    """Return the exit code of a run whose newest task has ended or waits for an answer."""
    task = view.newest
    if not task.state.over or view.error_kind == "login_needed":
        return Exit.NEEDS_ANSWER
    if task.state is TaskState.FAILED and view.error_kind in ENGINE_KINDS:
        return Exit.ENGINE
    if task.state is TaskState.COMPLETED:
        return _completed(task, allow_empty=allow_empty)
    return _STATES.get(task.state, Exit.FAILED)


def _completed(task: TaskView, *, allow_empty: bool) -> Exit:
    return Exit.DONE if task.verdict is Verdict.FULL or allow_empty else Exit.EMPTY
