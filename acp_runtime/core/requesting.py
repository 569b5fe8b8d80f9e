"""What follows from questions, their answers and reports: the part of `evolve` that is about them."""

from dataclasses import replace

from acp_runtime.core.events import AnswerTaken, RequestClosed, RequestOpened, ResultReported
from acp_runtime.core.ids import request_number
from acp_runtime.core.model import Subagent, Task, TaskState
from acp_runtime.core.request import Answered, Request, RequestKind
from acp_runtime.core.wishes import Wish, answered

__all__ = ["put_task", "request"]


def request(state: Subagent, event: RequestOpened | RequestClosed | AnswerTaken | ResultReported) -> Subagent:
    """Return the state after a question, an answer, or what the agent said by its tools."""
    if isinstance(event, AnswerTaken | ResultReported):
        return _told(state, event)
    if isinstance(event, RequestOpened):
        opened = Request(event.request_id, event.task_id, event.title, event.options, event.deadline, kind=event.kind)
        opened = replace(opened, wire=event.wire, rule=event.rule, fields=event.fields, writing=event.writing)
        if event.kind is RequestKind.EGRESS:
            return _wished(replace(state, requests=(*state.requests, opened)), opened)
        if event.kind is RequestKind.ASK:
            state = replace(state, ask_count=state.ask_count + 1)
        if event.kind is RequestKind.LOGIN:
            state = _logged_out(state, event.title)
        if event.kind.awaited:
            state = replace(state, asked=max(state.asked, request_number(event.request_id)))
            state = replace(state, heard=max(state.heard, event.upto))
        # Answered ones have been sent by now; a task that asks a thousand times must not carry them all along.
        return _pause(replace(state, requests=(*state.open_requests, opened)), event.at)
    if any(each.id == event.request_id and each.kind is RequestKind.ASK for each in state.requests):
        return _unpause(_asked_answered(state, event), event.at)
    if any(each.id == event.request_id and each.kind is RequestKind.EGRESS for each in state.requests):
        return _wish_answered(state, event)
    requests = tuple(
        replace(each, answer=event.answer, content=event.content) if each.id == event.request_id else each
        for each in state.requests
    )
    return _unpause(replace(state, requests=requests), event.at)


def _logged_out(state: Subagent, title: str) -> Subagent:
    state, task = replace(state, wish_count=state.wish_count + 1), state.active
    return state if task is None else put_task(state, replace(task, logged_out=title))


def _wished(state: Subagent, opened: Request) -> Subagent:
    state, task = replace(state, wish_count=state.wish_count + 1), state.task(opened.task_id)
    if task is None:
        return state
    return put_task(state, replace(task, wishes=(*task.wishes, Wish(opened.id, opened.rule))))


def _wish_answered(state: Subagent, event: RequestClosed) -> Subagent:
    """Note the answer. Nobody is to be sent it, so the request is not needed any more."""
    state = replace(state, requests=tuple(each for each in state.requests if each.id != event.request_id))
    for task in state.tasks:
        if any(each.request_id == event.request_id for each in task.wishes):
            return put_task(state, replace(task, wishes=answered(task.wishes, event.request_id, event.answer)))
    return state


def _asked_answered(state: Subagent, event: RequestClosed) -> Subagent:
    """Note the answer for the agent's next prompt. Its call, if it still waits, reads the log."""
    asked = next(each for each in state.requests if each.id == event.request_id)
    state = replace(state, requests=tuple(each for each in state.requests if each is not asked))
    if not event.answer:
        return state
    words = event.text or next(each.name for each in asked.options if each.id == event.answer)
    choices = tuple(each.name for each in asked.options)
    return replace(state, answers=(*state.answers, Answered(asked.id, asked.title, choices, words)))


def _pause(state: Subagent, at: int) -> Subagent:
    """Stop the clock of the running task while a question is open: the agent is not the one who dawdles."""
    task = state.active
    if task is None or task.state is not TaskState.RUNNING or task.deadline is None:
        return state
    return put_task(state, replace(task, deadline=None, remaining=max(0, task.deadline - at)))


def _unpause(state: Subagent, at: int) -> Subagent:
    task = state.active
    if task is None or task.remaining is None or state.holding:
        return state
    return put_task(state, replace(task, deadline=at + task.remaining, remaining=None))


def put_task(state: Subagent, new: Task) -> Subagent:
    """Replace a task. Of the ended ones only that which ended last stays: the others live in the log."""
    kept = (task for task in state.tasks if task.id == new.id or not (new.state.over and task.state.over))
    return replace(state, tasks=tuple(new if task.id == new.id else task for task in kept))


def _told(state: Subagent, event: AnswerTaken | ResultReported) -> Subagent:
    """Return the state after the agent was told an answer, or told its result."""
    if isinstance(event, AnswerTaken):
        return replace(state, answers=tuple(each for each in state.answers if each.request_id != event.request_id))
    task = state.task(event.task_id)
    if task is None:
        return state
    return put_task(state, replace(task, evidence=replace(task.evidence, report=event.value)))
