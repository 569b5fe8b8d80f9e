"""The updates of a session on their way to the log: many small ones in, few entries out.

Promises: nothing an agent said is lost or repeated, and order stays. Chunks of one message that follow each other are
joined. What replaces or completes something still pending (the same tool call, the plan, a state such as the usage)
goes into the entry that is already there, at that entry's place; everything else becomes a new entry at the end.
Each update costs time in proportion to its own size. What is pending is bounded by the limit and one more update, as
long as the owner takes it when it is `ready`; when to take it otherwise is the owner's business, who has the clock.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from acp_runtime.core.telling import MEANINGS
from acp_runtime.core.transcript import (
    OUTPUT_LOST,
    STRAY_MESSAGES,
    Entry,
    MessageEntry,
    OtherEntry,
    PlanEntry,
    PlanItem,
    Role,
    ToolEntry,
)
from acp_runtime.session.content import block_text, label, tool_detail
from acp_runtime.wire.acp import MAX_ID, UpdateKind
from acp_runtime.wire.jsontext import compact

DEFAULT_LIMIT: Final = 4096
MAX_RAW: Final = 4096
MAX_CUT: Final = 2000  # bytes of a cut update; written as a JSON string they at most double
MAX_TITLE: Final = 500
MAX_PLAN: Final = 100
ENTRY_OVERHEAD: Final = 64  # what an entry counts besides its text, so that a flood of empty ones is bounded too

_ROLES: Final[dict[str, Role]] = {
    UpdateKind.AGENT_MESSAGE_CHUNK: "agent",
    UpdateKind.AGENT_THOUGHT_CHUNK: "thought",
    UpdateKind.USER_MESSAGE_CHUNK: "user",
}
_TOOLS: Final = frozenset({UpdateKind.TOOL_CALL, UpdateKind.TOOL_CALL_UPDATE})
# What readers take for the manager's own word: no update of an agent is told under such a name.
_OURS: Final = frozenset(MEANINGS) - frozenset(UpdateKind)
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,59}")
OTHER: Final = "other"
# Each of these tells a whole state: the newest one says all that the ones before it said.
_STATES: Final = frozenset(
    {
        UpdateKind.USAGE_UPDATE,
        UpdateKind.AVAILABLE_COMMANDS_UPDATE,
        UpdateKind.CURRENT_MODE_UPDATE,
        UpdateKind.CONFIG_OPTION_UPDATE,
    }
)


@dataclass(slots=True)
class _Message:
    role: Role
    message_id: str | None
    parts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Slot:
    entry: ToolEntry | PlanEntry | OtherEntry


class Coalescer:
    """Gathers the updates of one session between two writes to the log."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._bytes = 0
        self._entries: list[_Message | _Slot] = []
        self._slots: dict[tuple[str, str], _Slot] = {}

    @property
    def size(self) -> int:
        """About how many bytes are pending; 0 means that `take` would return nothing."""
        return self._bytes

    @property
    def ready(self) -> bool:
        """Whether about `limit` bytes are pending, so that they should be taken now."""
        return self._bytes >= self._limit

    def add(self, update: dict[str, Any]) -> None:
        """Take in one update, the object under "update" of session/update; never raises for parsed JSON."""
        kind = update.get("sessionUpdate")
        kind = kind if isinstance(kind, str) else ""
        role = _ROLES.get(kind)
        if role is not None:
            self._add_chunk(role, kind, update)
        elif kind in _TOOLS:
            self._add_tool(kind, update)
        elif kind == UpdateKind.PLAN and isinstance(update.get("entries"), list):
            self._put(PlanEntry(_plan_items(update["entries"])), (kind, ""))
        else:
            self._add_other(kind, update)

    def lose(self, count: int) -> None:
        """Take in that so many bytes of what the agent wrote are lost here."""
        self._put(OtherEntry(OUTPUT_LOST, compact({"bytes": count})), None)

    def stray(self, count: int) -> None:
        """Take in that so many messages named another session by now."""
        self._put(OtherEntry(STRAY_MESSAGES, compact({"messages": count})), (STRAY_MESSAGES, ""))

    def take(self) -> list[Entry]:
        """Return what is pending, in the order in which it first appeared, and start anew."""
        entries: list[Entry] = [
            item.entry if isinstance(item, _Slot) else MessageEntry(item.role, "".join(item.parts), item.message_id)
            for item in self._entries
        ]
        self._entries = []
        self._slots = {}
        self._bytes = 0
        return entries

    def _add_chunk(self, role: Role, kind: str, update: dict[str, Any]) -> None:
        text = block_text(update.get("content"))
        if text is None:
            self._add_other(kind, update)
            return
        if not text:
            return
        message_id = label(update.get("messageId"))
        last = self._entries[-1] if self._entries else None
        if not isinstance(last, _Message) or last.role != role or last.message_id != message_id:
            last = _Message(role, message_id)
            self._entries.append(last)
            self._bytes += ENTRY_OVERHEAD
        last.parts.append(text)
        self._bytes += len(text) if text.isascii() else len(text.encode())

    def _add_tool(self, kind: str, update: dict[str, Any]) -> None:
        ident = label(update.get("toolCallId"), MAX_ID)
        if ident is None:
            self._add_other(kind, update)
            return
        entry = ToolEntry(
            ident,
            title=label(update.get("title"), MAX_TITLE),
            kind=label(update.get("kind")),
            status=label(update.get("status")),
            detail=tool_detail(update),
        )
        self._put(entry, ("tool", ident))

    def _add_other(self, kind: str, update: dict[str, Any]) -> None:
        entry = OtherEntry(_agents_word(kind), _bounded_json(update))
        self._put(entry, (kind, "") if kind in _STATES else None)

    def _put(self, entry: ToolEntry | PlanEntry | OtherEntry, key: tuple[str, str] | None) -> None:
        """Complete or replace what is pending under this key; without one, or with nothing pending, add at the end."""
        slot = self._slots.get(key) if key else None
        if slot is None:
            slot = _Slot(entry)
            self._entries.append(slot)
            if key:
                self._slots[key] = slot
        else:
            self._bytes -= _size(slot.entry)
            if isinstance(entry, ToolEntry) and isinstance(slot.entry, ToolEntry):
                entry = entry.after(slot.entry)
            slot.entry = entry
        self._bytes += _size(entry)


def _size(entry: ToolEntry | PlanEntry | OtherEntry) -> int:
    if isinstance(entry, ToolEntry):
        texts = [entry.tool_call_id, entry.title, entry.kind, entry.status, entry.detail]
        return ENTRY_OVERHEAD + sum(len(text) for text in texts if text)
    if isinstance(entry, PlanEntry):
        return ENTRY_OVERHEAD + sum(len(item.content) + len(item.status) for item in entry.entries)
    return ENTRY_OVERHEAD + len(entry.data)


def _agents_word(kind: str) -> str:
    """Return the kind of an update that is kept raw; what is no plain word, or one of ours, stands in the raw text."""
    return kind if not kind or (_WORD.fullmatch(kind) and kind not in _OURS) else OTHER


def _plan_items(entries: list[Any]) -> tuple[PlanItem, ...]:
    items = [item for item in entries[:MAX_PLAN] if isinstance(item, dict)]
    return tuple(
        PlanItem(label(item.get("content"), MAX_TITLE) or "", label(item.get("status")) or "") for item in items
    )


def _bounded_json(update: dict[str, Any]) -> str:
    text = compact(update)
    raw = text.encode()
    if len(raw) <= MAX_RAW:
        return text
    return compact({"cut": len(raw), "start": raw[:MAX_CUT].decode("utf-8", "ignore")})
