"""Open questions as people read them: each with the commands that answer it."""

import pytest

from acp_runtime.cli.questions import question_lines
from acp_runtime.core.commands import WISH_OPTIONS
from acp_runtime.core.request import RequestKind
from acp_runtime.core.wishes import title

OPEN = {"writing": "", "closes_at": None}


def asked(*rules: str) -> dict[str, object]:
    options = [{"id": each.id, "name": each.name, "kind": each.kind} for each in WISH_OPTIONS]
    requests = [
        {"id": f"e{number}", "kind": "egress", "title": title(rule), "options": options, **OPEN}
        for number, rule in enumerate(rules, 1)
    ]
    return {"id": "bg-0000000001", "requests": requests}


def test_a_host_that_is_lacked_is_named_with_a_command_for_each_answer() -> None:
    first, *answers = question_lines(asked("api.example.org:443"))
    assert first.startswith("question e1  reach api.example.org:443, which no egress rule allows")
    assert [line.split("  (")[0] for line in answers] == [
        "  subagents answer bg-0000000001 allow",
        "  subagents answer bg-0000000001 refuse",
        "  subagents answer bg-0000000001 always",
    ]


def test_of_several_questions_each_answer_says_to_which_it_is() -> None:
    answers = [line for line in question_lines(asked("a.example.org:443", "b.example.org:443")) if "answer" in line]
    assert [line.split("  (")[0].rpartition(" ")[2] for line in answers] == ["e1"] * 3 + ["e2"] * 3
    assert all(" --request " in line for line in answers)


def test_nothing_is_said_of_who_asks_nothing() -> None:
    assert list(question_lines(asked())) == []


@pytest.mark.parametrize(("kind", "told"), [("ask", "choice"), ("form", "choice"), ("permission", "unknown")])
def test_a_choice_is_told_as_one_where_the_agent_wants_to_know_and_nowhere_else(kind: str, told: str) -> None:
    options = [{"id": "1", "name": "Postgres", "kind": "choice"}]
    request = {"id": "a1", "kind": kind, "title": "Which?", "options": options, **OPEN}
    assert list(question_lines({"id": "bg-1", "requests": [request]}))[1].endswith(f"({told}: Postgres)")


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        (RequestKind.PERMISSION, "it is refused"),
        (RequestKind.QUESTION, "the queued tasks are cancelled"),
        (RequestKind.EGRESS, "it stays refused"),
        (RequestKind.LOGIN, "its task fails"),
        (RequestKind.FORM, "the agent gets no answer"),
        (RequestKind.ASK, "the agent gets no answer"),
    ],
)
def test_it_is_said_until_when_a_question_is_open_and_what_happens_then(kind: RequestKind, then: str) -> None:
    until = "2026-11-22T12:35:00.123Z"
    request = {"id": "a1", "kind": str(kind), "title": "Which?", "options": [], "writing": "", "closes_at": until}
    *_, last = question_lines({"id": "bg-1", "requests": [request]})
    assert last == f"  open until 2026-11-22 12:35:00 UTC; then {then}"
