"""A nudge as one line of the block, and back: `parse_nudge(render_line(line)) == line`.

Everything that the child controls stands in double quotes that it cannot leave (`plaintext.quiet`).
"""

import re
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.nudge import MAX_NUDGE_RESULT, About, Nudge, NudgeKind
from acp_runtime.core.plaintext import quiet

MAX_NAME: Final = 40
MAX_CAUSE: Final = 200
MAX_SUBJECT: Final = 60
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LINE: Final = re.compile(
    r'- (?P<name>[^"()]*) \((?P<subagent>[^"()]*)\)(?: (?P<about>task|request) (?P<subject>\S+))?'
    r" (?P<headline>[a-z]+(?: [a-z]+)*(?: \((?:empty|suspect)\))?)(?: \((?P<age>\d+ (?:min|h|d)) ago\))?"
    r'(?:: "(?P<cause>[^"]*)")?(?:\. (?P<label>It said|Options): "(?P<result>[^"]*)")?'
)


@dataclass(frozen=True, slots=True)
class NudgeLine:
    """What a parent reads of one nudge; every text is quiet and of its length. `age` is empty while it is fresh."""

    name: str
    subagent: str
    about: About
    subject: str
    headline: str
    age: str
    cause: str
    result: str


def nudge_line(nudge: Nudge, age: str) -> NudgeLine:
    """Return the line of a nudge. A full completion needs no cause, and a silent one has nothing to quote."""
    return NudgeLine(
        name=_word(nudge.name, MAX_NAME),
        subagent=_word(nudge.subagent, MAX_SUBJECT),
        about=nudge.about,
        subject=_word(nudge.subject, MAX_SUBJECT),
        headline=nudge.headline,
        age=age,
        cause="" if nudge.headline == NudgeKind.COMPLETED else quiet(nudge.cause, MAX_CAUSE),
        result=quiet(nudge.result, MAX_NUDGE_RESULT),
    )


def render_line(line: NudgeLine) -> str:
    """Return the line as the parent reads it."""
    text = f"- {line.name} ({line.subagent})"
    if line.about is not About.SUBAGENT:
        text += f" {line.about} {line.subject}"
    text += f" {line.headline}"
    if line.age:
        text += f" ({line.age} ago)"
    if line.cause:
        text += f': "{line.cause}"'
    if line.result:
        text += f'. {"Options" if line.about is About.REQUEST else "It said"}: "{line.result}"'
    return text


def parse_nudge(text: str) -> NudgeLine | None:
    """Return what `render_line` made a line of, or None for a line that it did not make."""
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    line = NudgeLine(
        name=found["name"],
        subagent=found["subagent"],
        about=About(found["about"] or About.SUBAGENT),
        subject=found["subject"] or "",
        headline=found["headline"],
        age=found["age"] or "",
        cause=found["cause"] or "",
        result=found["result"] or "",
    )
    return line if render_line(line) == text else None


def age(seconds: float, shown_from: float) -> str:
    """Return how long ago something was, as `12 min`, `2 h` or `3 d`; empty when it is not older than `shown_from`."""
    if seconds <= shown_from:
        return ""
    if seconds < _HOUR:
        return f"{int(seconds) // _MINUTE} min"
    return f"{int(seconds) // _HOUR} h" if seconds < 2 * _DAY else f"{int(seconds) // _DAY} d"


def _word(text: str, limit: int) -> str:
    """Return text without what a line is divided by."""
    return re.sub(r"[()]", "", quiet(text, limit)).strip()
