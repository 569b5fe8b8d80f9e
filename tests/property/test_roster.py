"""Whatever children say, a block has one line for each of them and is taken out again whole."""

import re

from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.core.ids import display_name, subagent_id, task_id
from acp_runtime.core.nudge import About, Nudge, NudgeKind
from acp_runtime.core.roster import CLOSE_TAG, OPEN_TAG, RosterLine, render_block, strip_block
from acp_runtime.core.status import Status
from tests.property.test_plaintext import HOSTILE, hostile

said = st.text(st.characters(exclude_categories=()), max_size=120) | st.sampled_from(HOSTILE)
idents = st.binary(min_size=5, max_size=5).map(subagent_id)
CHILD = re.compile(
    r'- [a-z]+-[a-z]+ \((bg-[0-9a-f]{10})\) \[([a-z_]+)\] agent=(\S*) since=(\S+)( unread)? purpose="([^"]*)"'
)
TOLD = re.compile(r'- [a-z]+-[a-z]+ \((bg-[0-9a-f]{10})\) task (\S+) ([a-z ()]+)(: "[^"]*")?(\. It said: "[^"]*")?')


@st.composite
def children(draw: st.DrawFn) -> RosterLine:
    ident = draw(idents)
    return RosterLine(
        id=ident,
        name=display_name(ident),
        status=draw(st.sampled_from([status for status in Status if not status.over])),
        agent=draw(st.sampled_from(["opencode", "claude", "my-own.kind_2"])),
        unread=draw(st.booleans()),
        purpose=draw(said),
        started="11-20T12:00Z",
    )


@st.composite
def told(draw: st.DrawFn) -> Nudge:
    ident = draw(idents)
    kind = draw(st.sampled_from(list(NudgeKind)))
    return Nudge(
        id="n-1",
        kind=kind,
        parent="p",
        subagent=ident,
        name=display_name(ident),
        about=About.TASK,
        subject=task_id(ident, draw(st.integers(1, 99))),
        headline=draw(st.sampled_from(["completed", "completed (empty)", "timed out", "interrupted"])),
        cause=draw(said),
        result=draw(said),
    )


@given(st.lists(children(), max_size=12), st.lists(told(), max_size=5))
def test_a_block_reads_back_as_what_it_was_made_of(lines: list[RosterLine], nudges: list[Nudge]) -> None:
    block = render_block(tuple(lines), tuple((nudge, "") for nudge in nudges))
    if not lines and not nudges:
        assert block == ""
        return
    first, *inner, last = block.split("\n")
    assert (first, last) == (OPEN_TAG, CLOSE_TAG)
    assert (block.count("<"), block.count(">")) == (2, 2)
    items = [line for line in inner if line.startswith("- ")]
    assert len(items) == len(lines) + len(nudges) == len(inner) - bool(lines) - bool(nudges)
    for nudge, line in zip(nudges, items, strict=False):
        match = TOLD.fullmatch(line)
        assert match is not None, line
        assert match.group(1, 2, 3) == (nudge.subagent, nudge.subject, nudge.headline)
    for child, line in zip(lines, items[len(nudges) :], strict=True):
        match = CHILD.fullmatch(line)
        assert match is not None, line
        assert match.group(1, 2) == (child.id, child.status)
        assert bool(match.group(5)) == child.unread
        assert hostile(match.group(6)) == []


@given(st.text(max_size=200) | st.sampled_from(HOSTILE), st.lists(children(), min_size=1, max_size=3), said)
def test_a_message_comes_back_as_it_was_sent(message: str, lines: list[RosterLine], purpose: str) -> None:
    block = render_block(tuple(lines), ())
    assert strip_block(f"{message}\n\n{block}") == message
    assert strip_block(block) == ""


@given(st.lists(children(), min_size=10, max_size=10))
def test_ten_children_fit_into_1200_characters(lines: list[RosterLine]) -> None:
    assert len(render_block(tuple(lines), ())) <= 1200
