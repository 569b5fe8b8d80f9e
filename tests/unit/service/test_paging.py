"""How a log is told: pieces of one message joined under the seq of the last, and hardly more bytes than the text."""

import json

import pytest

from acp_runtime.core.events import Event, TaskStarted, TranscriptAdded
from acp_runtime.core.transcript import Entry, MessageEntry, ToolEntry
from acp_runtime.service.paging import told
from acp_runtime.store.projections import Row


def rows(*entries: Entry | Event) -> list[Row]:
    events = [each if isinstance(each, Event) else TranscriptAdded(at=0, task_id="t", entry=each) for each in entries]
    return [
        Row(seq, "bg-0", seq, event, "2026-01-01T00:00:00.000", "boot") for seq, event in enumerate(events, start=1)
    ]


def said(*entries: Entry | Event) -> list[tuple[int, str, str]]:
    return [(each.seq, each.kind, each.text) for each in told(rows(*entries), lambda _: "task")]


@pytest.mark.requirement("P10")
def test_a_message_that_came_in_many_pieces_costs_about_what_it_says() -> None:
    """B9: forty times the text in the original."""
    pieces = [MessageEntry("agent", f"piece {number:04d} of it; ", "m1") for number in range(300)]
    found = told(rows(*pieces), lambda _: "")
    text = "".join(piece.text for piece in pieces)
    assert [each.text for each in found] == [text]
    shown = [{"seq": each.seq, "kind": each.kind, "text": each.text, "timestamp": each.timestamp} for each in found]
    assert len(json.dumps(shown)) <= 1.3 * len(text)


def test_only_pieces_that_follow_each_other_in_one_message_are_joined() -> None:
    start = TaskStarted(at=0, task_id="t", attempt=1, deadline=None)
    assert said(
        MessageEntry("agent", "a", "1"),
        MessageEntry("agent", "b", "1"),
        MessageEntry("agent", "c", "2"),
        MessageEntry("thought", "d", "2"),
        MessageEntry("thought", "e", "2"),
        ToolEntry("call", "title"),
        MessageEntry("thought", "f", "2"),
        start,
        MessageEntry("thought", "g", "2"),
    ) == [
        (2, "agent_message_chunk", "ab"),
        (3, "agent_message_chunk", "c"),
        (5, "agent_thought_chunk", "de"),
        (6, "tool_call", "title"),
        (7, "agent_thought_chunk", "f"),
        (8, "task_dispatched", "task"),
        (9, "agent_thought_chunk", "g"),
    ]
