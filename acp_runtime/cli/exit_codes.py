"""Which exit code an outcome has; the codes themselves stand in `codes`."""

from acp_runtime.cli.codes import Exit
from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.views import SubagentView, TaskView

# The kinds of errors at a start, from `sandbox.errors` and the launchers, that are no fault of agent or task.
ENGINE_KINDS = frozenset(
    {
        "engine_error", "engine_unreachable", "engine_denied", "engine_timeout", "engine_refused", "name_taken",
        "fenced", "image_missing", "program_missing", "runtime_dir", "setting_refused", "same_user", "relay_error",
        "runtime_missing",
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
