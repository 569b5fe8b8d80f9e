"""The roster: one block per turn of a parent that shows its open subagents, and the nudges before it.

When nothing changed the bytes are the same: no ages, no counters, order of creation, absolute start times. So a
parent's prompt cache survives. The block is wrapped so that it can be recognised and stripped.
"""

from dataclasses import dataclass
from typing import Final

from acp_runtime.core.nudge import Nudge, render_nudge
from acp_runtime.core.plaintext import quiet

OPEN_TAG: Final = "<background-subagents>"
CLOSE_TAG: Final = "</background-subagents>"
HEADING: Final = "Your background subagents:"
MAX_NAME: Final = 40
MAX_AGENT: Final = 12
MAX_PURPOSE: Final = 40
MIN_PURPOSE: Final = 10
# What ten children may take, and what the widest line takes beside name, agent and purpose.
BLOCK_CHARS: Final = 1200 - len(f"{OPEN_TAG}\n{HEADING}\n{CLOSE_TAG}")
LINE_CHARS: Final = len('-  (bg-0123456789) [starting] agent= since=11-20T12:00Z unread purpose=""\n')


@dataclass(frozen=True, slots=True)
class RosterLine:
    """What one open subagent shows. `started` is an absolute time in UTC: `11-20T12:00Z`."""

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
        parts.append(HEADING)
        room = _purpose_room(lines)
        parts.extend(_render_line(line, room) for line in lines)
    parts.append(CLOSE_TAG)
    return "\n".join(parts)


def _purpose_room(lines: tuple[RosterLine, ...]) -> int:
    """Return how long purposes may be so that ten lines fit.

    Nothing that changes in the life of a subagent has a part in it: a new status must change no other line.
    """
    taken = sum(LINE_CHARS + len(quiet(line.name, MAX_NAME)) + len(quiet(line.agent, MAX_AGENT)) for line in lines)
    return max(MIN_PURPOSE, min(MAX_PURPOSE, (BLOCK_CHARS - taken) // len(lines)))


def _render_line(line: RosterLine, room: int) -> str:
    unread = " unread" if line.unread else ""
    name, agent, purpose = quiet(line.name, MAX_NAME), quiet(line.agent, MAX_AGENT), quiet(line.purpose, room)
    return f'- {name} ({line.id}) [{line.status}] agent={agent} since={line.started}{unread} purpose="{purpose}"'


def strip_block(text: str) -> str:
    """Return a message without the block at its end: what a host shows or stores when it replays a turn.

    Exact for a block that was appended behind an empty line. One that the user quotes inside of a message stays.
    """
    body = text.rstrip("\n")
    start = body.rfind(OPEN_TAG)
    if start < 0 or not body.endswith(CLOSE_TAG):
        return text
    return body[:start].removesuffix("\n").removesuffix("\n")
