"""A message to a subagent, and the honest answer to what became of it."""

import asyncio
from contextlib import suppress
from typing import Final

from acp_runtime.callers import Caller
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import SteerEnded, SteerRequested, TaskQueued
from acp_runtime.core.inputs import Send, SteerTask
from acp_runtime.core.model import Steering, TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.service.facade import SendMode
from acp_runtime.service.reading import Reading
from acp_runtime.store.codec import decode
from acp_runtime.store.store import Store
from acp_runtime.views import Outcome, Sent, SubagentView

STEER_SECONDS: Final = 30.0

_STEERED: Final = {
    Steering.INJECTED: (Outcome.INJECTED, "{} has taken it into the task that it works on."),
    Steering.QUEUED: (Outcome.QUEUED, "{} could not take it into the running task; it is the next task."),
    Steering.UNKNOWN: (
        Outcome.UNKNOWN,
        "{} did not say whether it took it; look at what it does before you repeat it.",
    ),
    Steering.OPEN: (Outcome.UNKNOWN, "{} has not said yet whether it took it; look at what it does."),
}


class Sending:
    """One message of one caller to a subagent that it may see."""

    def __init__(self, store: Store, supervisor: Supervisor, reading: Reading, caller: Caller) -> None:
        self._store = store
        self._supervisor = supervisor
        self._reading = reading
        self._caller = caller
        self._tick = store.tick

    async def run(self, before: SubagentView, message: str, mode: SendMode) -> Sent:
        """Hand the message over and return what is known of it. Raises `Rejected` (not_running, queue_full)."""
        by = await self._reading.word(self._caller, before)
        given = Send(message) if mode == "queue" else SteerTask(message, by)
        events = await self._supervisor.ask(before.id, given)
        for made in events:
            if isinstance(made, SteerRequested):
                return await self._steered(before, made)
        why = f" It is a task of its own: {_unsteered(before)}." if mode == "steer" else ""
        queued = {made.task_id for made in events if isinstance(made, TaskQueued)}
        view = await self._reading.status(self._caller, before.id)
        task = next((each for each in view.tasks if each.id in queued), None)
        if task is None or task.state is not TaskState.QUEUED:
            return Sent(view, Outcome.DISPATCHED, view.queued, f"{view.name} works on it now.{why}")
        ahead = view.queued - sum(each.state is TaskState.QUEUED and each.number >= task.number for each in view.tasks)
        return Sent(view, Outcome.QUEUED, view.queued, _waits(view, ahead) + why)

    async def _steered(self, before: SubagentView, made: SteerRequested) -> Sent:
        """Wait for the agent's word; the core's own deadline (limits.steer) ends this first."""
        outcome = Steering.OPEN
        with suppress(TimeoutError):
            async with asyncio.timeout(STEER_SECONDS):
                while (outcome := await self._outcome(before, made)) is Steering.OPEN:
                    await self._store.changed(self._tick)
        view = await self._reading.status(self._caller, before.id)
        word, sentence = _STEERED[outcome]
        return Sent(view, word, view.queued, sentence.format(view.name))

    async def _outcome(self, before: SubagentView, made: SteerRequested) -> Steering:
        self._tick = self._store.tick
        # What was stored since `before` was read: talk is not read again and again.
        rows = await self._store.query(
            "SELECT kind, data FROM event WHERE stream = ? AND seq > ? AND kind = 'steer_ended'", before.id, before.seq
        )
        ends = [each for row in rows if isinstance(each := decode(row["kind"], row["data"]), SteerEnded)]
        return next((each.outcome for each in ends if each.steer_id == made.steer_id), Steering.OPEN)


def _unsteered(view: SubagentView) -> str:
    """Return why a message for the running task did not go there."""
    if view.current_task is None:
        return "no task was running"
    if not view.steering:
        return f"its agent ({view.agent}) takes no messages while it works"
    return "its agent is out of reach" if view.status is Status.LOST else "the running task was at its end"


def _waits(view: SubagentView, ahead: int) -> str:
    busy = view.current_task is not None
    if not busy and ahead == 0:
        return f"{view.name} works on it as soon as it is ready."
    return f"{view.name} works on it after {ahead + busy} other task(s)."


def with_remedy(error: Rejected, view: SubagentView) -> Rejected:
    """Return the refusal of a message; that to an ended subagent says how it can be started again."""
    if error.kind != "not_running":
        return error
    sentence = f"Background subagent {view.name} is no longer running."
    if view.resumable:
        sentence += f" Its work was kept: `subagents resume {view.id} TEXT` starts it again with its next task."
    return Rejected(error.kind, sentence, {"id": view.id, "name": view.name, "resumable": view.resumable})
