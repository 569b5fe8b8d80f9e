"""The original's text of a turn, for hosts that were written for it: the same words, byte for byte.

Two sections for subagents and two for one-shot ones (those with an output file), each pair with what happened before
what is open, divided by an empty line. Nothing to say is an empty string. What a child controls is made harmless;
the parent's own words (purposes, tasks) lose their line breaks and hidden characters only.
"""

from dataclasses import dataclass
from typing import Final

from acp_runtime.core.nudge import About, Nudge, NudgeKind
from acp_runtime.core.plaintext import one_line, quiet

TOOLS: Final = (
    "spawn_background_subagent/list_background_subagents/send_background_subagent/poll_background_subagent/"
    "get_background_subagent_status/stop_background_subagent"
)
UPDATES: Final = "Background subagent updates since your last turn:"
OPEN: Final = f"Open background ACP subagents you can manage with {TOOLS}:"
DELEGATE_UPDATES: Final = "Async delegated subagent updates since your last turn:"
DELEGATE_OPEN: Final = "Open async delegate_task subagents still running in the background:"
WORKSPACE: Final = "/workspace"
MAX_PURPOSE: Final = 140
MAX_TASK: Final = 100
MAX_GOAL: Final = 120
MAX_CAUSE: Final = 200
_STATUS: Final = {
    NudgeKind.FAILED: "error",
    NudgeKind.REFUSED: "error",
    NudgeKind.TIMED_OUT: "timed_out",
    NudgeKind.NEEDS_PERMISSION: "waiting",
    NudgeKind.NEEDS_INPUT: "waiting",
    NudgeKind.CHANNEL_LOST: "lost",
    NudgeKind.RECOVERED: "running",
    NudgeKind.STOPPED: "stopped",
}


@dataclass(frozen=True, slots=True)
class LegacyLine:
    """What one open subagent shows. `unread` is a number of events; `output_file` is set for a one-shot subagent."""

    id: str
    name: str
    status: str
    agent: str
    cwd: str
    unread: int
    purpose: str
    current_task: str = ""
    output_file: str = ""


@dataclass(frozen=True, slots=True)
class LegacyNudge:
    """A nudge, and the output file of its subagent where that is a one-shot one."""

    nudge: Nudge
    output_file: str = ""


def folder(cwd: str) -> str:
    """Return an agent's folder as it is called in its container; `cwd` is relative to the workspace."""
    return f"{WORKSPACE}/{cwd}".rstrip("/")


def render_text(lines: tuple[LegacyLine, ...], nudges: tuple[LegacyNudge, ...]) -> str:
    """Return the text of one turn. `lines` are in order of creation."""
    plain = [_update(each.nudge) for each in nudges if not each.output_file]
    single = [_delegate_update(each) for each in nudges if each.output_file]
    sections = (
        (UPDATES, plain),
        (OPEN, [_line(line) for line in lines if not line.output_file]),
        (DELEGATE_UPDATES, single),
        (DELEGATE_OPEN, [_delegate_line(line) for line in lines if line.output_file]),
    )
    return "\n\n".join("\n".join((heading, *items)) for heading, items in sections if items)


def _update(nudge: Nudge) -> str:
    who = f"- {nudge.name} ({nudge.subagent})"
    if nudge.kind is NudgeKind.COMPLETED:
        return f"{who} finished its latest task."
    if nudge.kind is NudgeKind.BUDGET:
        return f"{who} {nudge.headline}: {quiet(nudge.cause, MAX_CAUSE)}."
    return f"{who} is now {_STATUS[nudge.kind]} ({nudge.reason or quiet(nudge.cause, MAX_CAUSE)})."


def _line(line: LegacyLine) -> str:
    text = (
        f"- {line.name} ({line.id}) [{line.status}] agent={line.agent} cwd={line.cwd} unread={line.unread} "
        f"purpose={one_line(line.purpose, MAX_PURPOSE)}"
    )
    return f"{text} current_task={one_line(line.current_task, MAX_TASK)}" if line.current_task else text


def _delegate_update(told: LegacyNudge) -> str:
    nudge = told.nudge
    who = f"- {nudge.name} ({nudge.subagent})"
    if nudge.kind is NudgeKind.COMPLETED:
        return f"{who} completed. Read {told.output_file} for the summary."
    if nudge.kind is NudgeKind.TIMED_OUT and nudge.about is About.TASK:
        return f"{who} hit its maximum runtime."
    if nudge.kind is NudgeKind.BUDGET:
        return f"{who} {nudge.headline}: {quiet(nudge.cause, MAX_CAUSE)}"
    return f"{who} failed: {quiet(nudge.cause, MAX_CAUSE)}"


def _delegate_line(line: LegacyLine) -> str:
    state = "idle" if line.status == "idle" else "running"
    return f"- {line.name} ({line.id}) [{state}] goal={one_line(line.purpose, MAX_GOAL)} output_file={line.output_file}"
