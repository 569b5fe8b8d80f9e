"""The roster: one block per turn of a parent that shows its open subagents, and the nudges before it.

When nothing changed the bytes are the same: no ages, no counters, order of creation, absolute start times. So a
parent's prompt cache survives. The block is wrapped so that it can be recognised, read back (`parse_block`) and
stripped: what a child controls can form neither a tag nor a line of its own.
"""

import re
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from acp_runtime.core.nudge import Nudge
from acp_runtime.core.nudge_line import NudgeLine, nudge_line, parse_nudge, render_line
from acp_runtime.core.plaintext import quiet

OPEN_TAG: Final = "<background-subagents>"
CLOSE_TAG: Final = "</background-subagents>"
NEWS: Final = "Since your last turn:"
HEADING: Final = "Your background subagents:"
MAX_NAME: Final = 40
MAX_AGENT: Final = 12
MAX_PURPOSE: Final = 40
MIN_PURPOSE: Final = 10
# What ten children may take, and what the widest line takes beside name, agent and purpose.
BLOCK_CHARS: Final = 1200 - len(f"{OPEN_TAG}\n{HEADING}\n{CLOSE_TAG}")
LINE_CHARS: Final = len('-  (bg-0123456789) [starting] agent= since=11-20T12:00Z unread purpose=""\n')
_LINE: Final = re.compile(
    r'- (?P<name>[^"()]*) \((?P<id>[^"()]*)\) \[(?P<status>[a-z_]+)\] agent=(?P<agent>[^"]*) since=(?P<started>\S+)'
    r'(?P<unread> unread)? purpose="(?P<purpose>[^"]*)"'
)
_AND: Final = "- and "
_MORE: Final = re.compile(r"- and (\d+) more: list_background_subagents shows them")


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


@dataclass(frozen=True, slots=True)
class Block:
    """What a block says. `more` counts open subagents for which there was no room."""

    lines: tuple[RosterLine, ...] = ()
    nudges: tuple[NudgeLine, ...] = ()
    more: int = 0


def shown(lines: tuple[RosterLine, ...], nudges: tuple[tuple[Nudge, str], ...], *, more: int = 0) -> Block:
    """Return what a block may say of these: every text harmless and cut to its length."""
    room = _purpose_room(lines) if lines else 0
    return Block(
        lines=tuple(_shown_line(line, room) for line in lines),
        nudges=tuple(nudge_line(nudge, age) for nudge, age in nudges),
        more=more,
    )


def render_block(lines: tuple[RosterLine, ...], nudges: tuple[tuple[Nudge, str], ...], *, more: int = 0) -> str:
    """Return the block of one turn, or an empty string when there is nothing to say.

    `nudges` come with their age (empty when fresh) and stand first. `lines` are in order of creation; `more` is how
    many open subagents there are beside them.
    """
    return render(shown(lines, nudges, more=more))


def render(block: Block) -> str:
    """Return the text of a block that holds what `shown` or `parse_block` gave."""
    parts: list[str] = []
    if block.nudges:
        parts += [NEWS, *(render_line(each) for each in block.nudges)]
    if block.lines:
        parts += [HEADING, *(_render_line(each) for each in block.lines)]
    if block.more:
        parts.append(f"- and {block.more} more: list_background_subagents shows them")
    return "\n".join((OPEN_TAG, *parts, CLOSE_TAG)) if parts else ""


def parse_block(text: str) -> Block | None:
    """Return what a block says, or None for text that is not exactly one block of ours.

    `parse_block(render(block)) == block` for every block that has something to say.
    """
    first, *inner, last = text.split("\n") if "\n" in text else (text, "")
    if first != OPEN_TAG or last != CLOSE_TAG:
        return None
    rest = deque(inner)
    nudges: list[NudgeLine] = []
    lines: list[RosterLine] = []
    if rest and rest[0] == NEWS:
        rest.popleft()
        while rest and (nudge := parse_nudge(rest[0])) is not None:
            nudges.append(nudge)
            rest.popleft()
    if rest and rest[0] == HEADING:
        rest.popleft()
        while rest and (line := _parse_line(rest[0])) is not None:
            lines.append(line)
            rest.popleft()
    found = _MORE.fullmatch(rest[0]) if rest else None
    block = Block(tuple(lines), tuple(nudges), int(found[1]) if found else 0)
    return block if render(block) == text else None


def strip_block(text: str) -> str:
    """Return a message without the block at its end: what a host shows or stores when it replays a turn.

    Exact for a block that was appended behind an empty line. One that the user quotes inside of a message stays, and
    so does text that only looks like a block.
    """
    body = text.rstrip("\n")
    start = body.rfind(OPEN_TAG)
    if start < 0 or parse_block(body[start:]) is None:
        return text
    return body[:start].removesuffix("\n").removesuffix("\n")


def strip_title(title: str) -> str:
    """Return a title that an agent made of a prompt, without the block: that may be cut off, or joined to one line."""
    start = title.find(OPEN_TAG)
    while start >= 0:
        rest = " ".join(title[start + len(OPEN_TAG) :].split()).rstrip(".…")
        if rest and any(rest.startswith(each) or each.startswith(rest) for each in (NEWS, HEADING, _AND)):
            return title[:start].rstrip()
        start = title.find(OPEN_TAG, start + 1)
    return title


def _shown_line(line: RosterLine, room: int) -> RosterLine:
    return replace(
        line,
        id=_word(line.id, MAX_NAME),
        name=_word(line.name, MAX_NAME),
        agent=_word(line.agent, MAX_AGENT),
        purpose=quiet(line.purpose, room),
    )


def _word(text: str, limit: int) -> str:
    """Return text without what a line is divided by."""
    return re.sub(r"[()]", "", quiet(text, limit)).strip()


def _purpose_room(lines: tuple[RosterLine, ...]) -> int:
    """Return how long purposes may be so that ten lines fit.

    Nothing that changes in the life of a subagent has a part in it: a new status must change no other line.
    """
    taken = sum(LINE_CHARS + len(quiet(line.name, MAX_NAME)) + len(quiet(line.agent, MAX_AGENT)) for line in lines)
    return max(MIN_PURPOSE, min(MAX_PURPOSE, (BLOCK_CHARS - taken) // len(lines)))


def _render_line(line: RosterLine) -> str:
    unread = " unread" if line.unread else ""
    return (
        f"- {line.name} ({line.id}) [{line.status}] agent={line.agent} since={line.started}{unread} "
        f'purpose="{line.purpose}"'
    )


def _parse_line(text: str) -> RosterLine | None:
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    return RosterLine(
        id=found["id"],
        name=found["name"],
        status=found["status"],
        agent=found["agent"],
        unread=bool(found["unread"]),
        purpose=found["purpose"],
        started=found["started"],
    )
