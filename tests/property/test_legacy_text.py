"""Whatever children say, the original's text has one line for each of them, and nothing in a line acts or hides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.core.legacy_text import (
    DELEGATE_OPEN,
    DELEGATE_UPDATES,
    OPEN,
    UPDATES,
    LegacyLine,
    LegacyNudge,
    render_text,
)
from acp_runtime.core.nudge import About, Nudge, NudgeKind
from tests.property.test_plaintext import hostile
from tests.property.test_roster import said

HEADINGS = {UPDATES, OPEN, DELEGATE_UPDATES, DELEGATE_OPEN}
files = st.sampled_from(["", "notes/out.md"])
lines = st.builds(
    LegacyLine,
    id=st.just("bg-0123456789"),
    name=st.just("amber-fox"),
    status=st.sampled_from(["running", "idle", "waiting"]),
    agent=st.just("opencode"),
    cwd=st.just("/workspace"),
    unread=st.integers(0, 9),
    purpose=said,
    current_task=said,
    output_file=files,
)


@st.composite
def nudges(draw: st.DrawFn) -> LegacyNudge:
    kind = draw(st.sampled_from(list(NudgeKind)))
    about = draw(st.sampled_from(list(About)))
    reason = draw(st.sampled_from(["", "agent_died"]))
    words = draw(said), draw(said)
    nudge = Nudge("n-1", kind, "p", "bg-0123456789", "amber-fox", about, "s", "is told", *words, reason=reason)
    return LegacyNudge(nudge, draw(files))


@pytest.mark.requirement("T16")
@given(st.lists(lines, max_size=4), st.lists(nudges(), max_size=4))
def test_no_child_adds_a_line_or_a_heading(open_ones: list[LegacyLine], told: list[LegacyNudge]) -> None:
    text = render_text(tuple(open_ones), tuple(told))
    given_lines = [line for line in text.split("\n") if line]
    items = [line for line in given_lines if line not in HEADINGS]
    assert len(items) == len(open_ones) + len(told)
    assert all(line.startswith("- amber-fox (bg-0123456789) ") for line in items)
    hidden = [each for each in hostile(text.replace("\n", "")) if len(each) == 1]
    assert set(hidden) <= set('<>"'), "the parent's own words may hold these"
