"""Live progress for a person: what the agent does, one line a tool call, never a flood. Goes to standard error."""

from collections.abc import Callable

from acp_runtime.core.events import Event, RequestOpened, SessionOpened, StepReached, TranscriptAdded
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.transcript import PlanEntry, ToolEntry

_DONE = frozenset({"completed", "failed"})
_STEPS = {"initialize": "starting the agent", "authenticate": "logging in", "session": "opening a session"}


class Progress:
    """Turns events into lines. A tool call is told when its title is known and again only when it failed."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._tools: dict[str, ToolEntry] = {}
        self._told: set[str] = set()

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
                self.say(f"the agent asks: {title}")
            case TranscriptAdded(entry=ToolEntry() as entry):
                self._tool(entry)
            case TranscriptAdded(entry=PlanEntry(entries=entries)):
                done = sum(1 for item in entries if item.status == "completed")
                self.say(f"plan: {done} of {len(entries)} steps done")
            case _:
                pass

    def _tool(self, entry: ToolEntry) -> None:
        known = self._tools.get(entry.tool_call_id)
        entry = entry.after(known) if known is not None else entry
        self._tools[entry.tool_call_id] = entry
        label = f"{entry.kind or 'tool'}: {one_line(entry.title or 'a tool call', 100)}"
        if entry.status in _DONE:
            self._tell(entry.tool_call_id, f"  {'✓' if entry.status == 'completed' else '✗'} {label}")

    def _tell(self, ident: str, line: str) -> None:
        if ident not in self._told:
            self._told.add(ident)
            self._write(line)
