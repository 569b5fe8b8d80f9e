"""The block of one turn: its bytes, its size, its order, and how it is taken out again."""

from dataclasses import replace
from typing import Any

import pytest

from acp_runtime.core.ids import LEFT, RIGHT
from acp_runtime.core.nudge import About, Nudge, NudgeKind
from acp_runtime.core.roster import CLOSE_TAG, OPEN_TAG, RosterLine, parse_block, render_block, strip_block, strip_title
from acp_runtime.core.status import Status

LINE = RosterLine(
    id="bg-0123456789",
    name="amber-fox",
    status="running",
    agent="opencode",
    unread=False,
    purpose="count sheep",
    started="11-20T12:00Z",
)
NUDGE = Nudge(
    id="n-1",
    kind=NudgeKind.COMPLETED,
    parent="p",
    subagent=LINE.id,
    name=LINE.name,
    about=About.TASK,
    subject=f"{LINE.id}.t1",
    headline="completed",
    cause="the agent ended its turn",
    result="All sheep are counted.",
)
LONGEST = f"{max(LEFT, key=len)}-{max(RIGHT, key=len)}"


def children(count: int, **changes: object) -> tuple[RosterLine, ...]:
    line = replace(LINE, name=LONGEST, purpose="x" * 200, unread=True, status="starting", **changes)  # type: ignore[arg-type]
    return tuple(replace(line, id=f"bg-{number:010d}") for number in range(count))


def test_nothing_to_say_is_an_empty_string() -> None:
    assert render_block((), ()) == ""


def test_a_block_is_these_bytes() -> None:
    assert render_block((LINE, replace(LINE, unread=True, status="idle")), ((NUDGE, ""),)).splitlines() == [
        "<background-subagents>",
        "Since your last turn:",
        '- amber-fox (bg-0123456789) task bg-0123456789.t1 completed. It said: "All sheep are counted."',
        "Your background subagents:",
        '- amber-fox (bg-0123456789) [running] agent=opencode since=11-20T12:00Z purpose="count sheep"',
        '- amber-fox (bg-0123456789) [idle] agent=opencode since=11-20T12:00Z unread purpose="count sheep"',
        "</background-subagents>",
    ]


@pytest.mark.requirement("B08")
def test_when_nothing_changed_the_bytes_are_the_same() -> None:
    assert render_block(children(7), ()) == render_block(children(7), ())


@pytest.mark.requirement("B08")
def test_a_change_of_one_subagent_changes_its_line_alone() -> None:
    before = children(10)
    after = (*before[:4], replace(before[4], status="idle", unread=False), *before[5:])
    pairs = zip(render_block(before, ()).splitlines(), render_block(after, ()).splitlines(), strict=True)
    assert [number for number, (old, new) in enumerate(pairs) if old != new] == [2 + 4]


def test_lines_stand_in_the_order_in_which_they_are_given() -> None:
    lines = children(5)
    block = render_block(lines, ())
    places = [block.index(line.id) for line in lines]
    assert places == sorted(places)


@pytest.mark.parametrize("agent", ["opencode", "claude", "codex", "gemini", "a-user-kind-with-a-very-long-name-indeed"])
def test_ten_children_take_at_most_1200_characters(agent: str) -> None:
    block = render_block(children(10, agent=agent), ())
    assert len(block) <= 1200
    assert all(each.id in block for each in children(10))


def test_a_few_children_have_forty_characters_for_their_purpose_and_ten_still_some() -> None:
    assert f'purpose="{"x" * 39}…"' in render_block(children(7), ())
    assert f'purpose="{"x" * 10}' in render_block(children(10), ())
    assert f'purpose="{"x" * 9}' in render_block(children(50), ())


def test_every_open_status_fits_into_the_line_that_was_reckoned_with() -> None:
    assert max(len(status) for status in Status if not status.over) == len("starting")


MESSAGES = ("", "hello", "see <background-subagents> there", "a\r", "hello\n", "\n\nhello\n\n\n", "a\r\n")


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_block_at_the_end_is_taken_out_and_the_message_stays_as_it_was(message: str, end: str) -> None:
    block = render_block((LINE,), ((NUDGE, ""),))
    assert strip_block(f"{message}\n\n{block}{end}") == message
    if not message.endswith("\n"):
        assert strip_block(f"{message}\n{block}{end}") == message


@pytest.mark.parametrize(
    "message",
    ["", "hello\n", OPEN_TAG, CLOSE_TAG, f"{CLOSE_TAG} and {OPEN_TAG}", f"what does {OPEN_TAG}…{CLOSE_TAG} mean?"],
)
def test_a_message_without_our_block_stays_as_it_is(message: str) -> None:
    assert strip_block(message) == message


@pytest.mark.parametrize("nudges", [(), ((NUDGE, ""),)])
@pytest.mark.parametrize("length", [30, 34, 60, 1000])
@pytest.mark.parametrize("end", ["", "…", "..."])
def test_a_title_made_of_a_prompt_keeps_the_words_of_its_user(nudges: Any, length: int, end: str) -> None:
    block = render_block((LINE,), nudges)
    for made in (f"look at it\n{block}", f"look at it {' '.join(block.split())}"):
        assert strip_title(made[: len("look at it") + length] + end) == "look at it"
    assert strip_title(block) == ""


@pytest.mark.parametrize("title", ["", "look", f"what is {OPEN_TAG}", f"{OPEN_TAG} for Zed", f"{OPEN_TAG}{CLOSE_TAG}…"])
def test_a_title_without_our_block_stays_as_it_is(title: str) -> None:
    assert strip_title(title) == title


def test_a_block_that_was_quoted_by_the_user_stays_and_ours_goes() -> None:
    block = render_block((LINE,), ())
    message = f"what does this mean?\n{block}\nIt stood in my chat."
    assert strip_block(f"{message}\n\n{block}") == message
    assert strip_block(message) == message


def test_subagents_without_room_are_counted_and_the_list_is_named() -> None:
    block = render_block(children(50), (), more=7)
    assert block.splitlines()[-2] == "- and 7 more: list_background_subagents shows them"
    found = parse_block(block)
    assert found is not None
    assert (len(found.lines), found.more) == (50, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        OPEN_TAG,
        CLOSE_TAG,
        f"{OPEN_TAG}\n{CLOSE_TAG}",
        f"{OPEN_TAG}\nhello\n{CLOSE_TAG}",
        f"{OPEN_TAG}\nYour background subagents:\n{CLOSE_TAG}",
        f"{OPEN_TAG}\nSince your last turn:\n- and 0 more: list_background_subagents shows them\n{CLOSE_TAG}",
        f" {render_block((LINE,), ())}",
        render_block((LINE,), ()).replace("running", "Running"),
        render_block((LINE,), ()).replace('"count', '""count'),
        render_block((LINE,), ((NUDGE, ""),)).replace("completed.", "completed (yesterday)."),
        render_block((LINE,), ()) + "\n",
    ],
)
def test_what_is_not_exactly_a_block_of_ours_is_none_and_is_not_stripped(text: str) -> None:
    assert parse_block(text) is None
    if not text.strip().startswith(OPEN_TAG) or "count sheep" not in text:
        assert strip_block(f"hello\n\n{text}") == f"hello\n\n{text}"
