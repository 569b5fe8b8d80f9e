"""For all updates and all moments of taking: what the agent said comes out whole and in order."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.core.transcript import MessageEntry, ToolEntry
from acp_runtime.session.transcript import Coalescer

TAKE = "take"
ROLES = {"agent_message_chunk": "agent", "agent_thought_chunk": "thought", "user_message_chunk": "user"}
CHUNKS = st.builds(
    lambda kind, text, ident: {"sessionUpdate": kind, "content": {"type": "text", "text": text}, "messageId": ident},
    st.sampled_from(sorted(ROLES)),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.sampled_from([None, "m1", "m2"]),
)
TOOLS = st.builds(
    lambda kind, ident, fields: {"sessionUpdate": kind, "toolCallId": ident, **fields},
    st.sampled_from(["tool_call", "tool_call_update"]),
    st.sampled_from(["t1", "t2", "t3"]),
    st.dictionaries(st.sampled_from(["title", "kind", "status", "rawOutput"]), st.text("abc", min_size=1), max_size=3),
)
OTHERS = st.sampled_from(["usage_update", "_vendor", "plan"]).map(lambda kind: {"sessionUpdate": kind, "entries": []})
STEPS = st.lists(CHUNKS | TOOLS | OTHERS | st.just(TAKE), max_size=40)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


def run(steps):
    coalescer = Coalescer()
    entries = []
    for step in steps:
        if step == TAKE:
            entries += coalescer.take()
        else:
            coalescer.add(step)
    return entries + coalescer.take()


@given(STEPS)
def test_the_text_of_each_message_does_not_depend_on_when_it_is_taken(steps):
    said = [
        (ROLES[step["sessionUpdate"]], step["messageId"], character)
        for step in steps
        if step != TAKE and step["sessionUpdate"] in ROLES
        for character in step["content"]["text"]
    ]
    told = [
        (entry.role, entry.message_id, character)
        for entry in run(steps)
        if isinstance(entry, MessageEntry)
        for character in entry.text
    ]
    assert told == said


@given(STEPS)
def test_what_is_known_of_a_tool_call_does_not_depend_on_when_it_is_taken(steps):
    def known(entries):
        calls = {}
        for entry in entries:
            if isinstance(entry, ToolEntry):
                earlier = calls.get(entry.tool_call_id)
                calls[entry.tool_call_id] = entry.after(earlier) if earlier else entry
        return calls

    assert known(run(steps)) == known(run([step for step in steps if step != TAKE]))


@given(STEPS)
def test_an_entry_never_comes_before_what_first_appeared_before_it(steps):
    updates = [step for step in steps if step != TAKE and step["sessionUpdate"] != "usage_update"]
    one_by_one = run([item for step in updates for item in (step, TAKE)])
    first_seen = {}
    for place, entry in enumerate(one_by_one):
        if isinstance(entry, ToolEntry):
            first_seen.setdefault(entry.tool_call_id, place)
    order = [entry.tool_call_id for entry in run(updates) if isinstance(entry, ToolEntry)]
    assert order == sorted(first_seen, key=first_seen.__getitem__)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["sessionUpdate", "content", "toolCallId", "title", "entries", "messageId", "rawOutput"]),
            ANYTHING | st.sampled_from(["agent_message_chunk", "tool_call", "plan", "usage_update"]),
        ),
        max_size=8,
    )
)
def test_no_update_makes_it_raise_and_all_of_it_can_be_stored(updates):
    for entry in run(updates):
        assert json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False).encode()
