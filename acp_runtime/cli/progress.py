"""Live progress for a person: what the agent does, one line a tool call, never a flood."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from acp_runtime.core.events import Event, RequestOpened, SessionOpened, StepReached, TranscriptAdded
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.transcript import PlanEntry, ToolEntry

BURST: Final = 60  # lines that the agent may cause at once
PER_SECOND: Final = 2.0  # and afterwards
MAX_TOOLS: Final = 1000  # calls that are remembered until they end

_DONE = frozenset({"completed", "failed"})
_STEPS = {"initialize": "starting the agent", "authenticate": "logging in", "session": "opening a session"}


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Progress:
    """Turns events into lines. A tool call is told once, when it ended; a plan when its count of done steps changed.

    What an agent does faster than a person reads is left out, and how much that was is told.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], float] = _loop_time) -> None:
        self._write = write
        self._now = now
        self._tools: dict[str, ToolEntry | None] = {}
        self._plan = ""
        self._allowed = float(BURST)
        self._last: float | None = None
        self._left_out = 0

    def say(self, sentence: str) -> None:
        """Tell one step of the manager itself."""
        self._write(f"· {one_line(sentence, 200)}")

    def show(self, event: Event) -> None:
        """Tell what an event means to a person; most mean nothing."""
        match event:
            case StepReached(step=step) if step in _STEPS:
                self.say(_STEPS[step])
            case SessionOpened(agent_name=name, agent_version=version):
                self.say(f"{name or 'the agent'} {version} is ready".replace("  ", " "))
            case RequestOpened(title=title):
                self._caused(f"· the agent asks: {one_line(title, 100)}")
            case TranscriptAdded(entry=ToolEntry() as entry):
                self._tool(entry)
            case TranscriptAdded(entry=PlanEntry(entries=entries)):
                done = sum(1 for item in entries if item.status == "completed")
                plan, self._plan = self._plan, f"· plan: {done} of {len(entries)} steps done"
                if plan != self._plan:
                    self._caused(self._plan)
            case _:
                pass

    def finish(self) -> None:
        """Tell how much was left out since the last line."""
        if self._left_out:
            self._write(f"  … {self._left_out} more")
            self._left_out = 0

    def _tool(self, entry: ToolEntry) -> None:
        ident = entry.tool_call_id
        known = self._tools.get(ident)
        if known is None and ident in self._tools:
            return
        entry = entry.after(known) if known is not None else entry
        ended = entry.status in _DONE
        self._tools[ident] = None if ended else replace(entry, detail=None)
        if len(self._tools) > MAX_TOOLS:
            del self._tools[next(iter(self._tools))]
        if ended:
            label = f"{one_line(entry.kind or 'tool', 20)}: {one_line(entry.title or 'a tool call', 100)}"
            self._caused(f"  {'✓' if entry.status == 'completed' else '✗'} {label}")

    def _caused(self, line: str) -> None:
        """Write a line that the agent caused, if it does not cause too many."""
        now = self._now()
        if self._last is not None:
            self._allowed = min(BURST, self._allowed + (now - self._last) * PER_SECOND)
        self._last = now
        if self._allowed < 1:
            self._left_out += 1
            return
        self._allowed -= 1
        self.finish()
        self._write(line)
