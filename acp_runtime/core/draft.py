"""A decision in the making: the state as it will be, and the events that make it so."""

from dataclasses import replace
from typing import Final

from acp_runtime.core.events import (
    AttemptStarted,
    CancelRequested,
    Event,
    RequestClosed,
    RequestOpened,
    SteerEnded,
    StepReached,
    StopRequested,
    TaskEnded,
    TaskQueued,
    TaskStarted,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.ids import task_id
from acp_runtime.core.model import HOLDING_THE_QUEUE, Lifecycle, Reason, Steering, Step, Subagent, Task, TaskState
from acp_runtime.core.request import Option, RequestKind
from acp_runtime.core.timers import milliseconds, retry_at, stop_seconds

PROMPTED: Final = frozenset(RequestKind) - HOLDING_THE_QUEUE
_QUEUED_OUTCOME: Final = {
    Reason.START_FAILED: TaskState.FAILED,
    Reason.START_TIMEOUT: TaskState.TIMED_OUT,
    Reason.LIFETIME: TaskState.TIMED_OUT,
}


class Draft:
    """Collects events; each is applied at once, so that later rules see what earlier ones did."""

    def __init__(self, state: Subagent, now: int) -> None:
        self.state = state
        self.now = now
        self.events: list[Event] = []
        self._needed_login = _needs_login(state)

    def emit(self, event: Event) -> None:
        self.state = evolve(self.state, event)
        self.events.append(event)

    def after(self, seconds: float) -> int:
        return self.now + milliseconds(seconds)

    def ask(
        self, ident: str, kind: RequestKind, title: str, options: tuple[Option, ...], *,
        task: str = "", rule: str = "", writing: str = "",
    ) -> None:  # fmt: skip
        """Open a request of our own, which stands for as long as the limits say."""
        deadline = self.after(self.state.limits.request)
        self.emit(
            RequestOpened(
                at=self.now, request_id=ident, task_id=task, title=title, options=options, deadline=deadline,
                kind=kind, rule=rule, writing=writing,
            )
        )  # fmt: skip

    def dispatch(self) -> None:
        """Coupling rule: a ready agent without an active task gets the next queued one."""
        state = self.state
        if state.lifecycle is not Lifecycle.READY or state.active is not None or not state.queued:
            return
        if state.question is not None or (retry_at(state) or 0) > self.now:
            return
        seconds = state.limits.task
        self.emit(
            TaskStarted(
                at=self.now,
                task_id=state.queued[0].id,
                attempt=state.attempt,
                deadline=None if seconds is None else self.after(seconds),
                note="\n\n".join(each for each in (state.note, *(told.note for told in state.answers)) if each),
            )
        )

    def settle(self) -> None:
        """Coupling rules after any input.

        No question about no task; a one-shot agent ends with its task; a start goes on once no login is asked for.
        """
        state = self.state
        if state.question is not None and not state.queued and state.active is None:
            self.close_questions(by="manager")
        over = state.lifecycle is Lifecycle.STOPPING or state.lifecycle.over
        if state.order.one_shot and not over and all(task.state.over for task in state.tasks):
            self.stop(Reason.FINISHED, by="manager", cause="its one task has ended", failed=False)
        if self._needed_login and not _needs_login(self.state) and self.state.step is Step.BACKOFF:
            self.launch()

    def queue(self, text: str, *, woken: bool = False) -> None:
        number = self.state.task_count + 1
        ident = task_id(self.state.id, number)
        self.emit(TaskQueued(at=self.now, task_id=ident, number=number, text=text, woken=woken))

    def start(self, step: Step, seconds: float, *, by: str = "", counted: bool = True) -> None:
        """Begin the next attempt with its first step."""
        attempt, deadline = self.state.attempt + 1, self.after(seconds)
        self.emit(AttemptStarted(at=self.now, attempt=attempt, step=step, deadline=deadline, by=by, counted=counted))

    def launch(self) -> None:
        """End the pause before an attempt."""
        deadline = self.after(self.state.limits.for_step(Step.SANDBOX))
        self.emit(StepReached(at=self.now, attempt=self.state.attempt, step=Step.SANDBOX, deadline=deadline))

    def restart(self, *, counted: bool = True) -> None:
        """Begin another attempt after a pause that doubles; what was asked of the old process is void."""
        self.close_questions(by="manager", kept=frozenset((RequestKind.LOGIN,)))
        self.end_steers()
        self.start(Step.BACKOFF, self.state.limits.backoff * 2**self.state.restarts, counted=counted)

    def close_requests(self, *, by: str) -> None:
        """Close what is asked of the task that is with the agent."""
        self._close(PROMPTED, by)

    def close_questions(self, *, by: str, kept: frozenset[RequestKind] = frozenset()) -> None:
        """Close what is asked of the subagent, and would hold its queue."""
        self._close(HOLDING_THE_QUEUE - kept, by)

    def _close(self, kinds: frozenset[RequestKind], by: str) -> None:
        for request in self.state.open_requests:
            if request.kind in kinds:
                self.emit(RequestClosed(at=self.now, request_id=request.id, answer="", by=by))

    def end_steers(self) -> None:
        """Nobody will say any more whether the agent took these."""
        for steer in self.state.open_steers:
            self.emit(SteerEnded(at=self.now, steer_id=steer.id, outcome=Steering.UNKNOWN))

    def cancel(self, task: Task, *, goal: TaskState, cause: str, by: str) -> None:
        """Ask the agent to end its task; what it still asks is closed first (ACP: cancelled prompts answer nothing)."""
        self.close_requests(by=by)
        grace = self.after(self.state.limits.cancel_grace)
        self.emit(CancelRequested(at=self.now, task_id=task.id, goal=goal, cause=cause, by=by, deadline=grace))

    def end(self, task: Task, outcome: TaskState, *, cause: str, by: str = "agent") -> None:
        self.emit(TaskEnded(at=self.now, task_id=task.id, outcome=outcome, cause=cause, by=by))

    def stop(self, reason: Reason, *, by: str, cause: str, failed: bool, kind: str = "") -> None:
        """Open the only door to an end. Queued tasks end now; the active one ends by the rule of the reason.

        An agent that is out of reach is not asked to end its task: it may have done so, and its journal tells.
        """
        lost = self.state.lifecycle is Lifecycle.LOST
        deadline = self.after(stop_seconds(replace(self.state, leading=self.state.order.lineage.leads)))
        self.emit(
            StopRequested(
                at=self.now, reason=reason, by=by, cause=cause, failed=failed, deadline=deadline, kind=kind or reason
            )
        )
        self.close_questions(by=by)
        self._close(frozenset({RequestKind.ASK}), by)
        self.end_steers()
        for task in self.state.queued:
            self.end(task, _QUEUED_OUTCOME.get(reason, TaskState.CANCELLED), cause=cause, by=by)
        if (active := self.state.active) is None:
            return
        unheard = lost and active.prompt is not None and reason not in (Reason.AGENT_DIED, Reason.MANAGER_FAILED)
        if unheard:
            self.close_requests(by=by)
        elif reason in (Reason.AGENT_DIED, Reason.CHANNEL_LOST, Reason.MANAGER_FAILED):
            self.end(active, TaskState.INTERRUPTED, cause=f"{cause}; the outcome is unknown", by=by)
        elif active.state is TaskState.RUNNING:
            self.call_off(active, reason, cause=cause, by=by)

    def call_off(self, task: Task, reason: Reason, *, cause: str, by: str) -> None:
        """Cancel what runs in a subagent that is being stopped."""
        goal = TaskState.TIMED_OUT if reason is Reason.LIFETIME else TaskState.CANCELLED
        self.cancel(task, goal=goal, cause=cause, by=by)


def _needs_login(state: Subagent) -> bool:
    """Tell whether it is starting and asks for its login."""
    return state.lifecycle is Lifecycle.STARTING and any(each.kind is RequestKind.LOGIN for each in state.open_requests)
