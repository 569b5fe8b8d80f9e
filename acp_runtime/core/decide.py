"""`decide(state, input, now) -> (events, effects)`: every choice the manager makes about a subagent. Pure.

Commands of callers may raise `Rejected` and then change nothing. Observations never raise: a late or stale one (of an
older attempt, of a task that is not active, after the end) gives no events. The rules themselves stand in `commands`,
`observations` and `due`.
"""

from collections.abc import Callable
from typing import Any

from acp_runtime.core import asking, commands, due, ending, logins, observations, spending
from acp_runtime.core.draft import Draft
from acp_runtime.core.effects import Effect
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import AttemptStarted, Event, SubagentRequested
from acp_runtime.core.evolve import evolve
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    AskParent,
    CancelTask,
    ChannelClosed,
    Configured,
    DeadlinePassed,
    DeathProven,
    Denied,
    Halted,
    Heard,
    Input,
    LoginExpired,
    LoginRenewed,
    ModelUsed,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    Reattached,
    Rebooted,
    Refused,
    ReportResult,
    ResumeSubagent,
    Send,
    SessionReady,
    SetBudget,
    Spawn,
    StartBroke,
    SteerAnswered,
    SteerTask,
    StepBegan,
    StopSubagent,
    SubtreeOver,
    TakeAnswer,
    TimeOver,
)
from acp_runtime.core.model import Step, Subagent
from acp_runtime.core.timers import outstanding


def decide(state: Subagent | None, given: Input, now: int) -> tuple[tuple[Event, ...], tuple[Effect, ...]]:
    """Return the facts that follow from an input, and the effects that the state after them newly calls for."""
    if isinstance(given, Spawn):
        return _spawn(state, given, now)
    if state is None:
        raise Rejected("unknown_subagent", f"{type(given).__name__} names a subagent that does not exist")
    draft = Draft(state, now)
    _HANDLERS[type(given)](draft, given)
    draft.settle()
    draft.dispatch()
    before = outstanding(state)
    return tuple(draft.events), tuple(each for each in outstanding(draft.state) if each not in before)


def _spawn(state: Subagent | None, given: Spawn, now: int) -> tuple[tuple[Event, ...], tuple[Effect, ...]]:
    if state is not None:
        raise Rejected("already_exists", f"subagent {given.id} exists already")
    born = SubagentRequested(
        at=now,
        id=given.id,
        parent=given.parent,
        name=given.name,
        purpose=given.purpose,
        order=given.order,
        permissions=given.permissions,
        limits=given.limits,
    )
    draft = Draft(evolve(None, born), now)
    draft.events.append(born)
    draft.queue(given.task)
    deadline = draft.after(given.limits.for_step(Step.SANDBOX))
    draft.emit(AttemptStarted(at=now, attempt=1, step=Step.SANDBOX, deadline=deadline))
    return tuple(draft.events), outstanding(draft.state)


_HANDLERS: dict[type[Input], Callable[[Draft, Any], None]] = {
    Send: commands.send,
    SteerTask: commands.steer,
    ResumeSubagent: commands.resume,
    CancelTask: commands.cancel_task,
    SetBudget: commands.set_budget,
    StopSubagent: commands.stop,
    AnswerRequest: commands.answer,
    AskParent: asking.ask_parent,
    TakeAnswer: asking.take_answer,
    ReportResult: asking.report_result,
    Rebooted: observations.rebooted,
    StepBegan: observations.step_began,
    SessionReady: observations.session_ready,
    StartBroke: observations.start_broke,
    Heard: observations.heard,
    Asked: observations.asked,
    Denied: observations.denied,
    LoginExpired: logins.login_expired,
    LoginRenewed: logins.login_renewed,
    Configured: observations.configured,
    PromptLaid: observations.prompt_laid,
    PromptAnswered: observations.prompt_answered,
    PromptBroke: observations.prompt_broke,
    SteerAnswered: observations.steer_answered,
    ChannelClosed: observations.channel_closed,
    Reattached: observations.reattached,
    Refused: observations.refused,
    DeathProven: observations.death_proven,
    SubtreeOver: ending.subtree_over,
    Halted: observations.halted,
    ModelUsed: spending.model_used,
    TimeOver: spending.time_over,
    DeadlinePassed: due.deadline_passed,
}
