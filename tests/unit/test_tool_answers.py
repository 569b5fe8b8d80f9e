"""What answers of the tools tell a model of the work of a subagent that has nothing to do."""

from dataclasses import replace

import pytest

from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.tools.answers import ending
from acp_runtime.views import TaskView
from tests.unit.tui.test_rows import VIEW

BLANK = TaskView("t-1", 1, "look", TaskState.COMPLETED, None, "", None, "done", 0, 0, 0, "")


def note(status: Status, *changed: int | None, exported: bool = True) -> str:
    tasks = tuple(replace(BLANK, files_changed=each) for each in changed)
    return str(ending(replace(VIEW, status=status, tasks=tasks, exported=exported))["note"])


@pytest.mark.parametrize("changed", [(1,), (None,), (2, 0)])
def test_a_model_is_told_where_the_work_of_an_ended_subagent_is_and_how_it_is_applied(changed: tuple[int]) -> None:
    told = note(Status.STOPPED, *changed)
    assert "subagents://bg-1/patch" in told
    assert "subagents work bg-1 | git apply" in told
    assert "stop it to have what it changed as a patch" in note(Status.IDLE, *changed)


@pytest.mark.parametrize("status", [Status.STOPPED, Status.IDLE])
def test_a_model_is_told_of_no_patch_where_no_file_was_changed(status: Status) -> None:
    assert "patch" not in note(status, 0, 0)


def test_a_model_is_sent_to_no_patch_that_could_not_be_taken_out() -> None:
    assert "patch" not in note(Status.STOPPED, 1, exported=False)
