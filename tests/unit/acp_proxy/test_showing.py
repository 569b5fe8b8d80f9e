"""How what a subagent says and asks looks to an editor, which may be a program of the terminal."""

import pytest

from acp_runtime.acp_proxy.showing import Update, event_update, options_of

NASTY = "\x1b]52;c;b3duZWQ=\x07\x1b[2Jfine\u202e\u200b\n[ended] over"


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("agent_message_chunk", {"content": {"type": "text", "text": "fine\n[ended] over"}}),
        ("agent_thought_chunk", {"content": {"type": "text", "text": "fine\n[ended] over"}}),
        ("task_dispatched", {"content": {"type": "text", "text": "fine\n[ended] over"}}),
        ("tool_call", {"title": "fine [ended] over", "status": "fine [ended] over", "kind": "fine [ended] over"}),
        ("tool_call_update", {"status": "fine [ended] over"}),
    ],
)
def test_nothing_that_a_subagent_says_controls_a_terminal(kind: str, shown: Update) -> None:
    data = {"tool": NASTY, "status": NASTY, "kind": NASTY}
    update = event_update({"kind": kind, "text": NASTY, "data": data})
    assert update is not None
    assert shown.items() <= update.items()


@pytest.mark.requirement("T14")
def test_an_option_of_a_kind_that_nobody_knows_is_not_offered_as_one_that_allows() -> None:
    """Editors can be told to allow by themselves what allows once."""
    offered = [
        {"id": "a", "name": "Reject", "kind": "anything"},
        {"id": "b", "name": "Allow", "kind": "allow_once"},
        {"id": "c", "name": "Reject", "kind": "choice"},
    ]
    shown = options_of({"kind": "permission", "options": offered})
    assert [(each["optionId"], each["kind"]) for each in shown] == [("b", "allow_once")]
    shown = options_of({"kind": "form", "options": offered[2:]})
    assert [(each["optionId"], each["kind"]) for each in shown] == [("c", "allow_once")]


def test_to_reach_a_host_for_good_is_not_an_editors_to_say() -> None:
    offered = [{"id": each, "name": each, "kind": f"allow_{each}"} for each in ("once", "always")]
    assert [each["optionId"] for each in options_of({"kind": "egress", "options": offered})] == ["once"]
