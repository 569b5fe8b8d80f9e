"""Many updates in, few entries out, nothing lost and nothing moved."""

import json

import pytest

from acp_runtime.core.transcript import MessageEntry, OtherEntry, PlanEntry, PlanItem, ToolEntry
from acp_runtime.session.transcript import Coalescer


def chunk(text, kind="agent_message_chunk", **more):
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}, **more}


def tool(ident, update="tool_call_update", **more):
    return {"sessionUpdate": update, "toolCallId": ident, **more}


def taken(*updates):
    coalescer = Coalescer()
    for update in updates:
        coalescer.add(update)
    return coalescer.take()


def test_chunks_of_one_message_are_joined():
    assert taken(chunk("a", messageId="m"), chunk("b", messageId="m")) == [MessageEntry("agent", "ab", "m")]


def test_another_role_or_another_message_is_another_entry():
    assert taken(
        chunk("a"),
        chunk("b", "agent_thought_chunk"),
        chunk("c"),
        chunk("d", messageId="m"),
        chunk("e", "user_message_chunk", messageId="m"),
    ) == [
        MessageEntry("agent", "a"),
        MessageEntry("thought", "b"),
        MessageEntry("agent", "c"),
        MessageEntry("agent", "d", "m"),
        MessageEntry("user", "e", "m"),
    ]


def test_a_chunk_after_a_tool_call_is_a_new_entry():
    assert taken(chunk("a"), tool("t"), chunk("b")) == [
        MessageEntry("agent", "a"),
        ToolEntry("t"),
        MessageEntry("agent", "b"),
    ]


def test_updates_of_a_tool_call_complete_its_pending_entry_at_its_place():
    entries = taken(
        tool("t1", "tool_call", title="run ls", kind="execute", status="pending", rawInput={"command": "ls"}),
        tool("t2", "tool_call", title="read"),
        chunk("meanwhile"),
        tool("t1", status="completed", content=[{"type": "content", "content": {"type": "text", "text": "a.py"}}]),
        chunk(" and on"),
    )
    assert entries == [
        ToolEntry("t1", "run ls", "execute", "completed", "a.py"),
        ToolEntry("t2", "read"),
        MessageEntry("agent", "meanwhile and on"),
    ]


def test_after_it_was_taken_an_entry_says_only_what_is_new_and_completes_the_old_one():
    coalescer = Coalescer()
    coalescer.add(tool("t", "tool_call", title="run", kind="execute", status="pending"))
    (first,) = coalescer.take()
    coalescer.add(tool("t", status="failed"))
    (second,) = coalescer.take()
    assert second == ToolEntry("t", status="failed")
    assert second.after(first) == ToolEntry("t", "run", "execute", "failed")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"rawInput": {"command": "ls"}}, '{"command":"ls"}'),
        ({"rawInput": {"a": 1}, "rawOutput": "out"}, "out"),
        ({"rawOutput": {"n": float("inf")}, "content": []}, '{"n":null}'),
        ({"content": [{"type": "diff", "path": "/workspace/a.py", "newText": "x"}]}, "[diff /workspace/a.py]"),
        ({"content": [{"type": "terminal", "terminalId": "t"}, 5]}, "[terminal t]"),
        ({"content": [{"type": "diff"}, {"type": "terminal"}]}, "[diff of an unnamed file]\n[terminal without an id]"),
        ({"content": [{"type": "text", "text": "bare"}]}, "bare"),
        ({"content": [{"type": "content", "content": {"type": "image", "data": "A" * 16_000}}]}, "[image 12 kB]"),
        ({"content": "garbage"}, None),
        ({"rawOutput": ""}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_detail_of_a_tool_call_is_what_it_put_out_or_what_it_was_given(fields, detail):
    assert taken(tool("t", **fields)) == [ToolEntry("t", detail=detail)]


def test_the_detail_of_a_tool_call_is_bounded():
    blocks = [{"type": "content", "content": {"type": "text", "text": "é" * 3000}}] * 1000
    (entry,) = taken(tool("t", content=blocks, title="x" * 9000))
    assert entry.detail == "é" * 3000 + "\n" + "é" * 1095
    assert len(entry.title) == 500
    (entry,) = taken(tool("t", rawOutput={"x": "y" * 9000}))
    assert len(entry.detail) == 4096


def test_a_plan_replaces_the_pending_one_at_its_place():
    plan = {"sessionUpdate": "plan", "entries": [{"content": "one", "status": "pending"}, {"content": 5}, "junk"]}
    later = {"sessionUpdate": "plan", "entries": [{"content": "one", "status": "completed", "priority": "high"}]}
    assert taken(plan) == [PlanEntry((PlanItem("one", "pending"), PlanItem("", "")))]
    assert taken(plan, chunk("a"), later, chunk("b")) == [
        PlanEntry((PlanItem("one", "completed"),)),
        MessageEntry("agent", "ab"),
    ]


def test_at_most_100_steps_of_a_plan_are_kept():
    (plan,) = taken({"sessionUpdate": "plan", "entries": [{"content": "x" * 900, "status": "pending"}] * 300})
    assert plan.entries == (PlanItem("x" * 500, "pending"),) * 100


def test_a_state_replaces_the_pending_one_so_that_it_does_not_cut_a_message_into_pieces():
    usage = [{"sessionUpdate": "usage_update", "used": n} for n in range(50)]
    mixed = [update for n in range(50) for update in (usage[n], chunk(str(n % 10)))]
    assert taken(*mixed) == [
        OtherEntry("usage_update", '{"sessionUpdate":"usage_update","used":49}'),
        MessageEntry("agent", "0123456789" * 5),
    ]


@pytest.mark.parametrize(
    "update",
    [
        {"sessionUpdate": "_vendor", "x": None, "_meta": {"a": [1]}},
        {"sessionUpdate": "notice", "text": "é\ud800"},
        {"sessionUpdate": 5},
        {},
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "agent_message_chunk", "content": "text"},
        {"sessionUpdate": "agent_message_chunk", "content": {"text": "no type"}},
        {"sessionUpdate": "tool_call", "title": "no id"},
        {"sessionUpdate": "plan", "entries": "junk"},
    ],
)
def test_what_is_not_understood_is_kept_raw_each_time(update):
    first, second = taken(update, update)
    assert first == second
    kind = update.get("sessionUpdate")
    assert first.kind == (kind if isinstance(kind, str) else "")
    assert json.loads(first.data) == json.loads(json.dumps(update).replace("\\ud800", "\ufffd"))


@pytest.mark.requirement("T16")
@pytest.mark.parametrize(
    "kind",
    [
        "ended",
        "task_complete",
        "request_opened",
        "output_lost",
        "stray_messages",
        "x]\n[ended",
        "\x1b[2J",
        "x" * 99,
        "é",
    ],
)
def test_no_update_is_kept_under_a_name_that_readers_take_for_the_managers(kind):
    (entry,) = taken({"sessionUpdate": kind, "text": "all is done"})
    assert entry.kind == "other"
    assert json.loads(entry.data)["sessionUpdate"] == kind


@pytest.mark.parametrize("filling", ["x", '"', "\\", "é", "\U0001f600", "\0"])
def test_a_raw_update_is_bounded_and_stays_valid_json(filling):
    (entry,) = taken({"sessionUpdate": "_vendor", "text": filling * 10_000})
    assert len(entry.data.encode()) <= 4096
    cut = json.loads(entry.data)
    assert cut["cut"] > 10_000
    assert cut["start"].startswith('{"sessionUpdate":"_vendor","text":"')


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "image", "mimeType": "image/png", "data": "A" * 16_000}, "[image image/png 12 kB]"),
        ({"type": "audio", "mimeType": "audio/wav", "data": "AAAA"}, "[audio audio/wav 3 B]"),
        ({"type": "resource_link", "uri": "file:///a", "name": "a"}, "[resource_link file:///a]"),
        ({"type": "resource", "resource": {"uri": "file:///a", "text": "x" * 2500}}, "[resource file:///a 2 kB]"),
        ({"type": "hologram"}, "[hologram]"),
        ({"type": "text", "text": 5}, "[text]"),
    ],
)
def test_what_is_not_text_is_described_in_brackets(block, text):
    assert taken({"sessionUpdate": "agent_message_chunk", "content": block}) == [MessageEntry("agent", text)]


def test_an_empty_chunk_makes_no_entry():
    assert taken(chunk(""), chunk("", messageId="m")) == []


def test_lone_surrogates_are_replaced():
    entries = taken(
        chunk("a\ud83d", messageId="\udfff"),
        tool("\ud800", title="\ud800", rawOutput="\ud800"),
        {"sessionUpdate": "plan", "entries": [{"content": "\ud800"}]},
    )
    assert entries == [
        MessageEntry("agent", "a\ufffd", "\ufffd"),
        ToolEntry("\ufffd", title="\ufffd", detail="\ufffd"),
        PlanEntry((PlanItem("\ufffd", ""),)),
    ]


def test_it_is_ready_at_the_limit_counted_in_bytes_and_empty_after_taking():
    coalescer = Coalescer(limit=200)
    assert (coalescer.size, coalescer.ready) == (0, False)
    coalescer.add(chunk("é" * 67))
    assert (coalescer.size, coalescer.ready) == (198, False)
    coalescer.add(chunk("é"))
    assert coalescer.ready
    assert coalescer.take() == [MessageEntry("agent", "é" * 68)]
    assert (coalescer.size, coalescer.ready) == (0, False)
    assert coalescer.take() == []


def test_a_tool_call_that_repeats_its_whole_output_counts_only_once():
    coalescer = Coalescer()
    for n in range(1000):
        coalescer.add(tool("t", rawOutput="x" * 1000 + str(n)))
        assert not coalescer.ready
    assert coalescer.take() == [ToolEntry("t", detail="x" * 1000 + "999")]


@pytest.mark.parametrize(
    "update",
    [tool("t{n}"), {"sessionUpdate": "_vendor"}, chunk("x", messageId="{n}")],
    ids=["tools", "others", "messages"],
)
def test_a_flood_of_tiny_entries_becomes_ready_too(update):
    coalescer = Coalescer()
    added = 0
    while not coalescer.ready:
        coalescer.add(
            {key: value.format(n=added) if isinstance(value, str) else value for key, value in update.items()}
        )
        added += 1
        assert added <= 64
    assert len(coalescer.take()) == added


def test_20_000_updates_come_out_in_order_with_all_their_text():
    coalescer = Coalescer()
    entries = []
    for n in range(20_000):
        coalescer.add(chunk(f"{n};"))
        if coalescer.ready:
            entries += coalescer.take()
    entries += coalescer.take()
    assert "".join(entry.text for entry in entries) == "".join(f"{n};" for n in range(20_000))
    assert len(entries) < 50
