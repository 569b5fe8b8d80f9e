"""The tool table as a model sees it: names, parameters, size, sentences, and the page that shows it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.core import events as facts
from acp_runtime.core.budget import Bound, Budget
from acp_runtime.core.confinement import Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Limits, Opening, Order, Permissions, Reason, Steering, Step, TaskState
from acp_runtime.core.request import WRITTEN, RequestKind
from acp_runtime.core.telling import MEANINGS, Told, tell
from acp_runtime.core.transcript import (
    OUTPUT_LOST,
    PASSED_OVER,
    STRAY_MESSAGES,
    TOOLS_REFUSED,
    MessageEntry,
    OtherEntry,
    PlanEntry,
    ToolEntry,
)
from acp_runtime.tools import TOOLSETS
from acp_runtime.tools.orders import below
from docs.tools_page import PAGE, with_tables

DEFAULT = TOOLSETS["background"]
# A token is longer than this in every tokenizer that we know of (JSON of English words: 4 to 5 characters).
CHARS_OF_A_TOKEN = 3.5
MAX_TOKENS = 1_500

ORIGINALS = {
    "spawn_background_subagent": ({"purpose", "initial_task", "cwd"}, {"agent_kind"}),
    "list_background_subagents": (set(), set()),
    "send_background_subagent": ({"id", "message"}, set()),
    "poll_background_subagent": ({"id"}, {"since_seq"}),
    "get_background_subagent_status": ({"id"}, set()),
    "stop_background_subagent": ({"id"}, {"reason"}),
    "delegate_task_async": (
        {"goal"},
        {"context", "model", "provider", "toolsets", "max_iterations", "skill"},
    ),
    "check_task": ({"task_id"}, set()),
    "collect_task": ({"task_id"}, {"timeout"}),
    "steer_task": ({"task_id", "message"}, set()),
    "cancel_task": ({"task_id"}, set()),
    "list_tasks": (set(), set()),
}
ALL = [tool for table in TOOLSETS.values() for tool in table]


@pytest.mark.requirement("P01")
@pytest.mark.parametrize("name", ORIGINALS)
def test_a_tool_of_the_original_takes_what_it_took_there(name: str) -> None:
    (tool,) = (each for each in ALL if each.name == name)
    parameters = tool.schema()["parameters"]
    required, optional = ORIGINALS[name]
    assert set(parameters.get("required", [])) == required
    assert optional <= set(parameters["properties"])


@pytest.mark.requirement("P01")
def test_the_default_set_is_the_originals_six_with_wait_and_answer() -> None:
    assert [tool.name for tool in DEFAULT] == [
        *list(ORIGINALS)[:6],
        "wait_background_subagents",
        "answer_background_subagent",
    ]
    kinds = {tool.name: tool.kind for tool in DEFAULT}
    assert [kinds[name] for name in list(ORIGINALS)[:6]] == ["execute", "read", "execute", "read", "read", "execute"]


def test_the_default_set_costs_a_model_no_more_than_1500_tokens() -> None:
    text = json.dumps([tool.schema() for tool in DEFAULT], ensure_ascii=False)
    assert len(text) / CHARS_OF_A_TOKEN <= MAX_TOKENS


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_a_tool_is_told_in_sentences_and_its_schema_is_plain_json_schema(tool: Any) -> None:
    assert tool.sentence.endswith(".")
    text = json.dumps(tool.schema())
    for word in ('"title"', '"default"', "$ref", "$defs", "anyOf", "null"):
        assert word not in text
    assert tool.schema()["parameters"]["additionalProperties"] is False


@pytest.mark.requirement("D09.6")
@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_no_tool_takes_what_says_where_a_key_is(tool: Any) -> None:
    names = re.findall(r'"(\w+)": \{', json.dumps(tool.schema()["parameters"]))
    assert not [name for name in names if re.search("key|url|secret|token|env", name)]


def test_a_model_is_told_not_to_poll_in_a_loop() -> None:
    for name in ("spawn_background_subagent", "poll_background_subagent", "check_task"):
        (tool,) = (each for each in ALL if each.name == name)
        assert re.search(r"(never|not) (poll )?in a loop", tool.sentence)


def test_the_page_has_the_tables_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page), "run: .venv/bin/python -m docs.tools_page"


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the markers '<!-- tools"):
        with_tables("no markers")


@pytest.mark.requirement("P03")
@pytest.mark.parametrize(
    ("cwd", "inside"),
    [
        ("/workspace", ""),
        ("/workspace/", ""),
        (" /workspace/a/b ", "a/b"),
        ("/home/me/project", ""),
        ("/home/me/project/src", "src"),
        ("/workspace/./a", "a"),
    ],
)
def test_a_folder_is_named_as_the_agent_sees_it_or_as_it_stands_on_the_host(cwd: str, inside: str) -> None:
    assert below(Path("/home/me/project"), cwd) == inside


@pytest.mark.requirement("P03")
@pytest.mark.parametrize(
    ("cwd", "words"),
    [
        ("a", "'a' is relative"),
        ("../workspace", "is relative"),
        (".", "is relative"),
        ("/", "outside"),
        ("/workspaces", "outside"),
        ("/workspace/../etc", "outside"),
        ("/home/me/project/..", "outside"),
        ("/home/me", "outside"),
    ],
)
def test_another_folder_is_refused_with_its_name(cwd: str, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        below(Path("/home/me/project"), cwd)
    assert caught.value.kind == "invalid"


def every_fact() -> list[facts.Event]:
    """Return one event of each class, and of each kind of entry and outcome."""
    order = Order(agent="a", workspace="/w")
    found: list[facts.Event] = [
        facts.SubagentRequested(
            at=0, id="i", parent="p", name="n", purpose="x", order=order, permissions=Permissions.ASK, limits=Limits()
        ),
        facts.BootBegan(at=0, last=9),
        facts.AttemptStarted(at=0, attempt=2, step=Step.BACKOFF, deadline=1),
        facts.StepReached(at=0, attempt=1, step=Step.SESSION, deadline=1),
        facts.ChannelLost(at=0, attempt=1, cause="c", deadline=1),
        facts.LossConfirmed(at=0, attempt=1, number=1, cause="c"),
        facts.RecoveryRefused(at=0, attempt=1, cause="c"),
        facts.ChannelRecovered(at=0, attempt=1),
        facts.PromptSent(at=0, task_id="t", request=1, offset=0),
        facts.AgentDied(at=0, attempt=1, exit_code=None, cause="c"),
        facts.SubtreeEnded(at=0, deadline=1),
        facts.StopRequested(at=0, reason=Reason.FINISHED, by="parent", cause="c", failed=False, deadline=1),
        facts.SubagentStopped(at=0, confirmed=True),
        facts.SubagentFailed(at=0, confirmed=True),
        facts.TaskQueued(at=0, task_id="t", number=1, text="x"),
        facts.TaskStarted(at=0, task_id="t", attempt=1, deadline=None),
        facts.TaskRetried(at=0, task_id="t", number=1, cause="c", retry_at=1),
        facts.CancelRequested(at=0, task_id="t", goal=TaskState.CANCELLED, cause="c", by="parent", deadline=1),
        facts.RequestOpened(
            at=0, request_id="r", task_id="t", title="x", options=(), deadline=1, kind=RequestKind.QUESTION
        ),
        facts.RequestClosed(at=0, request_id="r", answer="", by="deadline"),
        facts.AnswerTaken(at=0, request_id="a1"),
        facts.ResultReported(at=0, task_id="t", value="1"),
        facts.SteerRequested(at=0, steer_id="s", number=1, task_id="t", text="x", by="parent", deadline=1),
        facts.SteerEnded(at=0, steer_id="s", outcome=Steering.INJECTED),
        facts.BudgetReached(at=0, bound=Bound.TOKENS, cause="c"),
        facts.TreeTimeOver(at=0, most=5, cause="c"),
        facts.BudgetChanged(at=0, budget=Budget(tokens=5), by="operator", period=1),
        facts.CallRefused(at=0, task_id="t", cause="c"),
        facts.EgressChanged(at=0, egress=Egress(), gained=("a:443",), lost=("b:443",), by="operator"),
    ]
    found += [
        facts.SessionOpened(at=0, attempt=1, session_id="s", agent_name="a", agent_version="1", opening=opening)
        for opening in Opening
    ]
    found += [
        facts.TaskEnded(at=0, task_id="t", outcome=state, cause="c", by="agent") for state in TaskState if state.over
    ]
    entries = [
        *(MessageEntry(role, "x") for role in ("agent", "thought", "user")),
        ToolEntry("1", "title"),
        ToolEntry("1", status="completed"),
        PlanEntry(()),
        OtherEntry(STRAY_MESSAGES, '{"messages":1}'),
        OtherEntry(TOOLS_REFUSED, '{"connections":1}'),
        OtherEntry(OUTPUT_LOST, '{"bytes":1}'),
        OtherEntry(PASSED_OVER, '{"bytes":1}'),
    ]
    return found + [facts.TranscriptAdded(at=0, task_id="t", entry=entry) for entry in entries]


def test_every_kind_that_is_told_is_on_the_page_and_the_other_way_round() -> None:
    given = every_fact()
    assert {type(each) for each in given} == set(facts.SUBAGENT_EVENTS)
    told = {found.kind for each in given if (found := tell(each, lambda _: "text")) is not None}
    assert told == set(MEANINGS)


def test_what_is_told_of_lost_output_says_how_much() -> None:
    lost = facts.TranscriptAdded(at=0, task_id="t", entry=OtherEntry(OUTPUT_LOST, '{"bytes":4096}'))
    assert tell(lost, str) == Told(OUTPUT_LOST, "Lost of what the agent wrote: 4096 bytes.", "t")


def test_an_update_of_an_unknown_kind_is_told_under_its_own_name_and_costs_a_poll_nothing() -> None:
    event = facts.TranscriptAdded(at=0, task_id="t", entry=OtherEntry("usage_update", '{"used": 5}'))
    short, full = tell(event, str), tell(event, str, details=True)
    assert short is not None
    assert full is not None
    assert (short.kind, short.text, full.text) == ("usage_update", "", '{"used": 5}')


def test_what_a_tool_put_out_is_in_the_transcript_only() -> None:
    event = facts.TranscriptAdded(at=0, task_id="t", entry=ToolEntry("1", "title", detail="x" * 4096))
    short, full = tell(event, str), tell(event, str, details=True)
    assert short is not None
    assert full is not None
    assert "detail" not in short.data
    assert full.data["detail"] == "x" * 4096


@pytest.mark.parametrize(
    ("answer", "by", "text", "told"),
    [
        ("allow-once", "policy", "", "answered by policy: allow-once"),
        (WRITTEN, "operator", "blue", "answered by operator: in words"),
        ("", "manager", "", "closed by manager without an answer"),
        ("reject", "deadline", "", "nobody answered in time; taken for: reject"),
        ("", "deadline", "", "nobody answered in time"),
        ("a\nb\x1b[31m", "parent", "", "answered by parent: a b"),
    ],
)
def test_what_became_of_a_question_is_told_with_the_answer_or_with_why_there_is_none(
    answer: str, by: str, text: str, told: str
) -> None:
    found = tell(facts.RequestClosed(at=0, request_id="r", answer=answer, by=by, text=text), str)
    assert found is not None
    assert found.text == told
