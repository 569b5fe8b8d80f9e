"""What one subagent says and does, from some time back and on: pieces of one message are joined as they come."""

from collections import deque
from typing import Final

from acp_runtime.callers import OPERATOR
from acp_runtime.client import RemoteRuntime
from acp_runtime.core.plaintext import one_line, printable, set_back
from acp_runtime.views import EventView

# How far back of the log's cursors a view begins, how much of it is held and how much of it is drawn.
BACK: Final = 20_000
ENTRIES: Final = 1_000
DRAWN_CHARS: Final = 40_000
PAGE: Final = 500
LINE_CHARS: Final = 500
_SAID: Final = "agent_message_chunk"
_THOUGHT: Final = "agent_thought_chunk"


class Following:
    """The transcript of one subagent as a person follows it. Reading it moves no parent's cursor."""

    def __init__(self, subagent: str, seq: int) -> None:
        """`seq` is the cursor of its newest event, as its view has it."""
        self.subagent = subagent
        self._since = max(0, seq - BACK)
        self._entries: deque[tuple[str, str]] = deque(maxlen=ENTRIES)

    async def read(self, runtime: RemoteRuntime) -> bool:
        """Take in what is new; return whether there was something. Raises what `RemoteRuntime.poll` does."""
        found = False
        while True:
            page = await runtime.poll(OPERATOR, self.subagent, since=self._since, limit=PAGE)
            for row in page.rows:
                self._take(row)
            self._since = max(self._since, page.next_seq)
            found = found or bool(page.rows)
            if not page.unread:
                return found

    def _take(self, row: EventView) -> None:
        if not row.text.strip() and row.kind not in (_SAID, _THOUGHT):
            return  # without a word for people, as counts of tokens
        text = printable(row.text) if row.kind in (_SAID, _THOUGHT) else one_line(row.text, LINE_CHARS)
        if row.kind in (_SAID, _THOUGHT) and self._entries and self._entries[-1][0] == row.kind:
            text = (self._entries.pop()[1] + text)[-DRAWN_CHARS:]
        self._entries.append((row.kind, text))

    def lines(self) -> list[tuple[str, str]]:
        """Return the newest that fits, oldest first: a kind, empty for what the agent said, and a text or its end.

        No line of a text begins with a bracket, as those of events are drawn.
        """
        kept: deque[tuple[str, str]] = deque()
        room = DRAWN_CHARS
        for kind, text in reversed(self._entries):
            if room <= 0:
                break
            kept.appendleft(("" if kind == _SAID else kind, set_back(text[-room:])))
            room -= len(text)
        return list(kept)
