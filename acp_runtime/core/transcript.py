"""What an agent said and did, as the entries of a transcript.

An entry is a stretch of the conversation that became one event. Entries of one message follow each other and their
texts are joined as they are; entries of one tool call complete each other (`ToolEntry.after`); a plan, and an
`OtherEntry` of a kind that describes a state, replaces the one before it. All text can be stored as UTF-8.
"""

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["agent", "thought", "user"]
OUTPUT_LOST: Final = "output_lost"
PASSED_OVER: Final = "passed_over"
STRAY_MESSAGES: Final = "stray_messages"
TOOLS_REFUSED: Final = "tools_refused"


@dataclass(frozen=True, slots=True)
class MessageEntry:
    """A piece of one message; never empty. `message_id` is the agent's, None where it gives none."""

    role: Role
    text: str
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """What became known of a tool call; None means that nothing was said, so what was known before stays.

    `kind` and `status` are the agent's words. `detail` is what the call put out, or what it was given as long as it
    put out nothing: at most 4096 characters.
    """

    tool_call_id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    detail: str | None = None

    def after(self, earlier: "ToolEntry") -> "ToolEntry":
        """Return what is known of the call when this entry follows `earlier`."""
        return ToolEntry(
            self.tool_call_id,
            earlier.title if self.title is None else self.title,
            earlier.kind if self.kind is None else self.kind,
            earlier.status if self.status is None else self.status,
            earlier.detail if self.detail is None else self.detail,
        )


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One step of a plan; `status` is the agent's word."""

    content: str
    status: str


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """The whole plan as it stands now, at most 100 steps."""

    entries: tuple[PlanItem, ...]


@dataclass(frozen=True, slots=True)
class OtherEntry:
    """An update of another kind, kept raw: `data` is valid JSON of at most 4096 bytes.

    Four kinds are ours: `OUTPUT_LOST` stands where a part of what the agent wrote is lost, `PASSED_OVER` for much
    that became no entry, `STRAY_MESSAGES` tells how many of its messages were dropped because they named a session
    that is not its own, and `TOOLS_REFUSED` how many connections to its tools had not its token.

    An update that is longer stands there as `{"cut": its length in bytes, "start": the beginning of its text}`.
    """

    kind: str
    data: str


Entry = MessageEntry | ToolEntry | PlanEntry | OtherEntry
