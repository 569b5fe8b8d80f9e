"""The lines of the terminal view."""

from dataclasses import replace

import pytest

from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.tui.app import _head
from acp_runtime.tui.rows import cost, tree
from acp_runtime.views import Spending, SubagentView, TaskView

TASK = TaskView("t-1", 1, "look", TaskState.RUNNING, None, "", None, "", 0, 0, None, "")
VIEW = SubagentView(
    id="bg-1", parent="someone", name="amber-owl", status=Status.RUNNING, purpose="", agent="opencode", workspace="/w",
    cwd="", preset="", runtime="", unsafe=(), model=None, step=None, attempt=1, session_id=None, opening=None,
    steering=False, container="", pid=None, reason=None, error_kind=None, cause="", confirmed=True, exported=True,
    keep=True, resumable=False, one_shot=False, output_file=None, queued=0, unread=0, current_task=None, started_at="",
    last_activity_at="", idle_timeout_at=None, max_lifetime_at=None, seq=1, tasks=(TASK,), requests=(),
)  # fmt: skip


def test_those_that_one_leads_stand_below_it_and_siblings_in_their_order() -> None:
    views = [
        replace(VIEW, id=name, name=name, parent=parent)
        for name, parent in (
            ("a", "someone"),
            ("b", "another"),
            ("a1", "subagent:a"),
            ("b1", "subagent:b"),
            ("a2", "subagent:a"),
            ("a1x", "subagent:a1"),
            ("orphan", "subagent:gone"),
        )
    ]
    assert [(row.id, row.cells[0]) for row in tree(views)] == [
        ("a", "a"), ("a1", "└ a1"), ("a1x", "  └ a1x"), ("a2", "└ a2"), ("b", "b"), ("b1", "└ b1"),
        ("orphan", "orphan"),
    ]  # fmt: skip


def test_what_an_agent_controls_is_one_line_without_hidden_characters() -> None:
    hostile = replace(VIEW, name="a\nb\x1b[31m", tasks=(replace(TASK, text="x\u202ey\n" * 100),))
    (row,) = tree([hostile])
    assert row.cells[0] == "a b"
    assert row.cells[-1].startswith("xy xy")
    assert len(row.cells[-1]) <= 100


def test_what_a_model_was_called_by_who_spawned_it_controls_no_terminal() -> None:
    told = _head(replace(VIEW, model="m\x1b]0;title\x07\n\x1b[2J" + "x" * 100)).plain.splitlines()
    assert told[1].startswith("opencode m xxx")
    assert (len(told), "\x1b" in told[1], len(told[1]) < 200) == (3, False, True)


@pytest.mark.parametrize(
    ("spent", "shown"),
    [
        (Spending(), ""),
        (Spending(calls=1, cost_usd=0.127), "$0.13"),
        (Spending(calls=1, cost_usd=None, unpriced_calls=1), "?"),
        (Spending(calls=2, cost_usd=1.0, unpriced_calls=1), "$1.00+"),
    ],
)
def test_a_cost_that_is_not_known_is_not_shown_as_if_it_were(spent: Spending, shown: str) -> None:
    assert cost(spent) == shown
