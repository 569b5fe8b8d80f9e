"""The roster: one block per turn of a parent that shows its open subagents, and the nudges before it.

When nothing changed the bytes are the same: no ages, no counters, order of creation, absolute start times. So a
parent's prompt cache survives. The block is wrapped so that it can be recognised and stripped.
"""

from dataclasses import dataclass

from acp_runtime.core.nudge import Nudge, render_nudge
from acp_runtime.core.plaintext import quiet

OPEN_TAG = "<background-subagents>"
CLOSE_TAG = "</background-subagents>"
MAX_PURPOSE = 40


@dataclass(frozen=True, slots=True)
class RosterLine:
    """What one open subagent shows. `started` is an absolute time in UTC, ISO 8601 to the minute."""

    id: str
    name: str
    status: str
    agent: str
    unread: bool
    purpose: str
    started: str


def render_block(lines: tuple[RosterLine, ...], nudges: tuple[tuple[Nudge, str], ...]) -> str:
    """Return the block of one turn, or an empty string when there is nothing to say.

    `nudges` come with their rendered age (empty when fresh) and stand first. `lines` are in order of creation.
    """
    if not lines and not nudges:
        return ""
    parts = [OPEN_TAG]
    if nudges:
        parts.append("Since your last turn:")
        parts.extend(render_nudge(nudge, age) for nudge, age in nudges)
    if lines:
        parts.append("Your background subagents:")
        parts.extend(render_line(line) for line in lines)
    parts.append(CLOSE_TAG)
    return "\n".join(parts)


def render_line(line: RosterLine) -> str:
    """Return one subagent on one line."""
    unread = " unread" if line.unread else ""
    name, agent, purpose = quiet(line.name, 40), quiet(line.agent, 40), quiet(line.purpose, MAX_PURPOSE)
    return f'- {name} ({line.id}) [{line.status}] agent={agent} since={line.started}{unread} purpose="{purpose}"'


def strip_block(text: str) -> str:
    """Return a message without our block: what a host shows or stores when it replays a turn."""
    start = text.rfind(OPEN_TAG)
    end = text.find(CLOSE_TAG, start) if start >= 0 else -1
    if end < 0:
        return text
    return (text[:start].rstrip("\n") + text[end + len(CLOSE_TAG) :]).rstrip("\n")
