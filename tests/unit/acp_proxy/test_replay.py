"""What it costs to find our blocks in what an agent tells again, and what is kept of it; property/ has the rest."""

import json
from typing import Any

import pytest

from acp_runtime.acp_proxy.own import OwnRequests
from acp_runtime.acp_proxy.questions import Questions
from acp_runtime.acp_proxy.replay import MAX_HELD_BYTES, MAX_SESSIONS, Replay
from acp_runtime.core.roster import CLOSE_TAG, HEADING, OPEN_TAG, RosterLine, render_block
from acp_runtime.wire.acp import MAX_ID
from acp_runtime.wire.jsontext import dump

CHILD = RosterLine("bg-1", "one", "idle", "codex", unread=False, purpose="x", started="11-20T12:00Z")
BLOCK = render_block((CHILD,), ())
LINE = BLOCK.split("\n")[2]


def told(*chunks: str) -> str:
    """Return what an editor shows of a user message that comes in these chunks."""
    replay, lines = Replay(), []
    for chunk in chunks:
        update = {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": chunk}}
        line = dump({"method": "session/update", "params": {"sessionId": "s", "update": update}})[:-1]
        lines += replay.chunk("s", line, chunk)
    lines += replay.flush()
    return "".join(json.loads(line)["params"]["update"]["content"]["text"] for line in lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{OPEN_TAG}\n" * 300_000 + f"- \n{CLOSE_TAG}", ...),
        (f"{OPEN_TAG}\n" * 300_000 + f"\n{CLOSE_TAG}\n{OPEN_TAG}", ...),
        (f"a{BLOCK}" * 60_000, "a" * 60_000),
        (f"{OPEN_TAG}\n{HEADING}\n" + f"{LINE}\n" * 150_000 + CLOSE_TAG, ""),
    ],
    ids=["tags that open", "tags that open and one more", "blocks", "lines in one block"],
)
def test_a_message_full_of_what_a_block_is_made_of_costs_no_more_than_its_length(text: str, shown: str) -> None:
    """With the square of it each would take minutes: beyond the bound of a test."""
    assert told(text) == (text if shown is ... else shown)


def test_blocks_of_several_chunks_are_taken_out_and_what_stands_between_them_stays() -> None:
    text = f"one {BLOCK} two {BLOCK}{BLOCK} three {OPEN_TAG} four"
    for size in (1, 7, len(BLOCK), len(text)):
        assert told(*(text[at : at + size] for at in range(0, len(text), size))) == f"one  two  three {OPEN_TAG} four"


def test_of_two_tags_that_open_the_second_begins_the_block() -> None:
    assert told(f"{OPEN_TAG}\n{BLOCK}") == f"{OPEN_TAG}\n"


def chunk_of(session: str, text: str, beside: str = "") -> tuple[str, bytes, str]:
    update = {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": text}, "_meta": beside}
    return session, dump({"method": "session/update", "params": {"sessionId": session, "update": update}})[:-1], text


@pytest.mark.requirement("T12")
def test_an_agent_that_begins_blocks_in_ever_new_sessions_or_long_lines_has_nothing_more_kept() -> None:
    replay, given, passed = Replay(), 0, 0
    for number in range(1_000):
        begun = chunk_of(f"s{number}", OPEN_TAG[:5])
        given, passed = given + 1, passed + len(replay.chunk(*begun))
    assert given - passed <= MAX_SESSIONS
    assert len(replay.flush()) == given - passed, "nothing is lost"
    long = chunk_of("s", OPEN_TAG, "x" * MAX_HELD_BYTES)
    assert replay.chunk(*long) == [long[1]]
    assert not replay.holding


@pytest.mark.requirement("T12")
def test_questions_with_very_long_ids_are_not_remembered() -> None:
    said: list[bytes] = []
    questions = Questions(OwnRequests(said.append), said.append)
    for ident in ("x" * MAX_ID, "y" * (MAX_ID + 1)):
        questions.asked({"id": ident, "method": "session/request_permission", "params": {"sessionId": "s"}})
    questions.withdraw("s")
    assert [json.loads(line).get("id") for line in said] == ["x" * MAX_ID, None], "and its editor is told"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("session/request_permission", {"outcome": {"outcome": "cancelled"}}),
        ("elicitation/create", {"action": "cancel"}),
        ("fs/read_text_file", None),
        (["session/request_permission"], None),
    ],
)
def test_what_a_person_was_asked_in_a_turn_that_is_called_off_is_answered_in_its_own_words(
    method: Any, answer: Any
) -> None:
    to_agent: list[bytes] = []
    to_editor: list[bytes] = []
    questions = Questions(OwnRequests(to_editor.append), to_agent.append)
    questions.asked({"id": 1, "method": method, "params": {"sessionId": "s"}})
    questions.asked({"id": 2, "method": method, "params": {"sessionId": "another"}})
    questions.withdraw("s")
    assert [json.loads(line) for line in to_agent] == (
        [{"jsonrpc": "2.0", "id": 1, "result": answer}] if answer else []
    )
    assert [json.loads(line)["params"] for line in to_editor] == ([{"requestId": 1}] if answer else [])
    assert questions.answered({"id": 1, "result": {}}) is (answer is not None), "the agent has had it"
