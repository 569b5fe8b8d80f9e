"""A subagent's log as readers want it: told fact by fact, with the pieces of one message joined.

A page costs about as much as what the agent said in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import TranscriptAdded
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.telling import tell
from acp_runtime.core.transcript import Entry, MessageEntry, ToolEntry
from acp_runtime.store.projections import Row
from acp_runtime.store.store import Store
from acp_runtime.views import EventView, Page, Transcript

MAX_ROWS: Final = 1_000
PAGE_CHARS: Final = 50_000
TRANSCRIPT_ROWS: Final = 20_000
TRANSCRIPT_CHARS: Final = 4 * 1_048_576


async def read_page(store: Store, subagent: str, *, since: int, limit: int) -> Page:
    """Return at most `limit` stored events after the cursor `since`, told: `PAGE_CHARS` characters, or one event."""
    rows = await store.events(subagent, since, max(1, min(limit, MAX_ROWS)))
    if not rows:
        return Page((), since, 0)
    texts = await _texts(store, subagent)
    rows = _fitting(rows, texts)
    newest = await store.query("SELECT max(version) AS version FROM event WHERE stream = ?", subagent)
    return Page(tuple(told(rows, texts)), rows[-1].seq, int(newest[0]["version"]) - rows[-1].version)


def _fitting(rows: list[Row], text_of: Callable[[str], str]) -> list[Row]:
    """Return as many of the first rows as there is room for, at least one."""
    size = 0
    for count, row in enumerate(rows):
        if (found := tell(row.event, text_of)) is not None:
            size += len(found.text) + len(str(found.data))
        if count and size > PAGE_CHARS:
            return rows[:count]
    return rows


async def read_transcript(store: Store, subagent: str, *, task: str | None) -> Transcript:
    """Return what the agent said and did, of one task or of all: messages whole, tool calls as they ended.

    Raises `Rejected` (unknown_task).
    """
    if task is not None and not await store.query("SELECT 1 FROM task WHERE subagent = ? AND id = ?", subagent, task):
        sentence = f"{subagent} has no task {one_line(task, 60)!r}; its first one is {subagent}.t1"
        raise Rejected("unknown_task", sentence)
    rows = await store.newest(subagent, TRANSCRIPT_ROWS + 1, task=task)
    texts = await _texts(store, subagent)
    entries = told(_completed(rows[-TRANSCRIPT_ROWS:]), texts, details=True)
    kept, size = [], 0
    for entry in reversed(entries):
        size += len(entry.text) + len(str(entry.data))
        if size > TRANSCRIPT_CHARS:
            break
        kept.append(entry)
    return Transcript(tuple(reversed(kept)), cut=len(kept) < len(entries) or len(rows) > TRANSCRIPT_ROWS)


def told(rows: Sequence[Row], text_of: Callable[[str], str], *, details: bool = False) -> list[EventView]:
    """Return the tellings of stored events in order; pieces of one message become one."""
    views: list[EventView] = []
    before: Entry | None = None
    for row in rows:
        found = tell(row.event, text_of, details=details)
        if found is None:
            continue
        view = EventView(row.seq, found.kind, found.text, f"{row.wall}Z", found.task, dict(found.data))
        entry = row.event.entry if isinstance(row.event, TranscriptAdded) else None
        if views and _joins(before, entry) and views[-1].task == view.task:
            views[-1] = replace(view, text=views[-1].text + view.text)
        else:
            views.append(view)
        before = entry
    return views


def _joins(before: Entry | None, entry: Entry | None) -> bool:
    if not isinstance(before, MessageEntry) or not isinstance(entry, MessageEntry):
        return False
    return (before.role, before.message_id) == (entry.role, entry.message_id)


def _completed(rows: list[Row]) -> list[Row]:
    """Put everything that became known of a tool call where the call was first told."""
    kept: list[Row] = []
    places: dict[str, int] = {}
    for row in rows:
        entry = row.event.entry if isinstance(row.event, TranscriptAdded) else None
        if not isinstance(entry, ToolEntry) or not isinstance(row.event, TranscriptAdded):
            kept.append(row)
            continue
        place = places.setdefault(entry.tool_call_id, len(kept))
        if place == len(kept):
            kept.append(row)
            continue
        first = kept[place].event
        if isinstance(first, TranscriptAdded) and isinstance(first.entry, ToolEntry):
            kept[place] = replace(kept[place], event=replace(first, entry=entry.after(first.entry)))
    return kept


async def _texts(store: Store, subagent: str) -> Callable[[str], str]:
    found = await store.query("SELECT id, substr(text, 1, 300) AS text FROM task WHERE subagent = ?", subagent)
    texts = {row["id"]: row["text"] for row in found}
    return lambda task: texts.get(task, "")
