"""What a parent must have been told, found from the log alone, and what it was told, read from the text of its turns.

Knows nothing of how nudges are made or kept. A fact counts as told when the model of the parent saw the text of a turn
that was acknowledged; a text that nobody saw tells nothing, whoever acknowledged it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from acp_runtime.core.events import (
    Event,
    RequestOpened,
    SessionOpened,
    StopRequested,
    SubagentFailed,
    SubagentStopped,
    TaskEnded,
    TaskQueued,
)
from acp_runtime.core.model import Opening, Reason, Subagent
from acp_runtime.core.nudge import About
from acp_runtime.core.nudge_line import NudgeLine
from acp_runtime.core.roster import parse_block
from acp_runtime.store.outbox import TurnContext

ENDS = frozenset({"timed out", "failed", "stopped", "was given up"})


@dataclass
class Told:
    """What one parent has seen and acknowledged, by the ids of its nudges."""

    seen: dict[str, NudgeLine] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)

    @property
    def known(self) -> dict[str, NudgeLine]:
        """What was seen in a turn that was acknowledged."""
        return {ident: line for ident, line in self.seen.items() if ident in self.acknowledged}


def read(turn: TurnContext) -> dict[str, NudgeLine]:
    """Return the lines of a turn by the ids of their nudges; every claimed nudge has its line."""
    if not turn.text:
        assert turn.nudges == (), "claimed without being shown"
        return {}
    block = parse_block(turn.text)
    assert block is not None, f"not a block: {turn.text}"
    assert len(block.nudges) == len(turn.nudges), "claimed without being shown"
    return dict(zip(turn.nudges, block.nudges, strict=True))


def check_new_turn(told: Told, turn: TurnContext, children: Sequence[Subagent]) -> None:
    """Judge a turn at the moment at which it is begun."""
    again = set(turn.nudges) & told.acknowledged
    assert not again, f"told again after its acknowledgement: {again}"
    open_requests = {(child.id, request.id) for child in children for request in child.open_requests}
    for line in read(turn).values():
        if line.about is About.REQUEST:
            assert (line.subagent, line.subject) in open_requests, f"asked what is open no more: {line}"


def check_told(told: Told, state: Subagent, events: Sequence[Event]) -> None:
    """Judge, once a parent has taken all its turns, whether it was told everything of a subagent, each fact once."""
    lines = [line for line in told.known.values() if line.subagent == state.id]
    tasks = [line.subject for line in lines if line.about is About.TASK]
    assert len(tasks) == len(set(tasks)), "one fact under two ids"
    due = {event.task_id for event in events if isinstance(event, TaskEnded) and event.by != "parent"}
    assert set(tasks) == due, f"lost: {due - set(tasks)}; made up: {set(tasks) - due}"
    asked = {line.subject for line in lines if line.about is About.REQUEST}
    assert {request.id for request in state.open_requests} <= asked, "lost: an open question"
    assert asked <= {event.request_id for event in events if isinstance(event, RequestOpened)}
    headlines = [line.headline for line in lines if line.about is About.SUBAGENT]
    ends = sum(each in ENDS for each in headlines)
    # That its task would be ended by its parent is foreseen when it is stopped, and wrong when its removal fails.
    assert untold_ends(events) <= ends <= sum(_by_others(event) for event in events), "lost or made up: an end"
    gone = sum(isinstance(event, SessionOpened) and event.opening is Opening.LOST for event in events)
    assert headlines.count("recovered") >= gone, "lost: a session that is gone"
    if state.loss_told and state.stop is None:
        assert "is out of reach" in headlines, "lost: a channel"


def untold_ends(events: Sequence[Event]) -> int:
    """Return how many subagents' ends others than the parent caused and no task told. An end under way is left out."""
    count = 0
    stop: StopRequested | None = None
    told = False
    for event in events:
        match event:
            case StopRequested():
                stop, told = event, False
            case TaskEnded(by=by):
                told |= by != "parent"
            case SubagentStopped() | SubagentFailed() if stop is not None:
                count += not told and _by_others(stop)
                stop = None
            case _:
                pass
    return count


def _by_others(event: Event) -> bool:
    return isinstance(event, StopRequested) and event.by != "parent" and event.reason is not Reason.FINISHED


def check_tasks(events: Sequence[Event]) -> None:
    """Judge an ended subagent: each task has exactly one terminal state."""
    queued = [event.task_id for event in events if isinstance(event, TaskQueued)]
    ended = [event.task_id for event in events if isinstance(event, TaskEnded)]
    assert sorted(queued) == sorted(ended), "a task without its one end"
