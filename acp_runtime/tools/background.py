"""The default set: eight tools with which a model has subagents work for it. Names and fields are the original's."""

import asyncio
from contextlib import suppress
from typing import Final

from acp_runtime.callers import Leader
from acp_runtime.core.errors import Rejected, SubagentsError
from acp_runtime.core.legacy_text import folder
from acp_runtime.core.lineage import Role
from acp_runtime.core.model import TaskState
from acp_runtime.core.permission import FOR_THE_TASK
from acp_runtime.core.status import Status
from acp_runtime.service.bounds import short_reason
from acp_runtime.service.order import SpawnRequest
from acp_runtime.tools import answers
from acp_runtime.tools.inputs import (
    MAX_WAITED,
    AnswerInput,
    ListInput,
    PollInput,
    SendInput,
    SpawnInput,
    StatusInput,
    StopInput,
    TaskInput,
    WaitInput,
)
from acp_runtime.tools.limits import Limits
from acp_runtime.tools.orders import order_of
from acp_runtime.tools.tool import Answer, Desk, Tool
from acp_runtime.views import Outcome, SubagentView

POLL_EVENTS: Final = 400
STOPPED: Final = "stopped_by_parent"


async def spawn(desk: Desk, given: SpawnInput) -> Answer:
    """Start one subagent or several. All are checked before the first is started; limits refuse each on its own."""
    if given.tasks is None:
        return await start(desk, order_of(desk, given))
    batch = (given, *(each.model_copy(update={"role": each.role or given.role}) for each in given.tasks))
    one_shots = sum(each.one_shot for each in batch)
    counts = {True: one_shots, False: len(batch) - one_shots}
    if isinstance(desk.parent, Leader):  # whose places are for both
        counts = dict.fromkeys(counts, len(batch))
    orders = [await _vetted(desk, each, number, counts[each.one_shot]) for number, each in enumerate(batch)]
    # One that fails hides none of the others: they have been started.
    found = await asyncio.gather(*(start(desk, order) for order in orders), return_exceptions=True)
    told = [_told(each) for each in found]
    return {"success": all(each["success"] for each in told), "subagents": told}


def _told(found: Answer | BaseException) -> Answer:
    return answers.trouble("spawn_background_subagent", found) if isinstance(found, BaseException) else found


async def _vetted(desk: Desk, given: TaskInput, number: int, count: int) -> SpawnRequest:
    """Return what a batch starts as its subagent `number` (0: the one beside `tasks`), one of `count` of its sort."""
    try:
        order = order_of(desk, given)
        await desk.runtime.vet(desk.parent, order, count=count)
    except Rejected as error:
        if error.kind == "too_many_tasks":
            raise
        where = f"tasks.{number - 1}: " if number else ""
        raise Rejected(error.kind, f"{where}{error}", error.data) from error
    return order


async def start(desk: Desk, order: SpawnRequest) -> Answer:
    """Spawn one and give its start a moment."""
    view = await desk.runtime.spawn(desk.parent, order)
    # It is there: that waiting for its session went wrong must not hide its id.
    with suppress(SubagentsError):
        view = await _started(desk, view)
    if view.status is Status.ERROR or (view.status.over and view.session_id is None):
        sentence = f"Failed to start background ACP subagent: {view.cause}"
        return answers.failure(sentence, view.error_kind or view.reason or "start_failed", {"id": view.id})
    first = view.tasks[0]
    told = answers.head(view) | {
        "purpose": view.purpose,
        "cwd": folder(view.cwd),
        "agent_kind": view.agent,
        "container_id": view.container or None,
        "acp_session_id": view.session_id,
        "initial_dispatch": answers.head(view)
        | {"queued": first.state is TaskState.QUEUED, "queued_messages": view.queued},
    }
    if view.role is Role.ORCHESTRATOR or view.role_note:
        told["role"] = str(view.role)
    if view.role_note:
        told["warnings"] = [view.role_note]
    if view.one_shot:
        told |= {
            "mode": "async",
            "goal": view.purpose,
            "output_file": view.output_file,
            "workspace_root": view.workspace,
            "max_duration_at": view.max_lifetime_at,
        }
    return told


async def _started(desk: Desk, view: SubagentView) -> SubagentView:
    """Return the subagent when its session is open, it has failed, or `start_wait` is over."""
    now = asyncio.get_running_loop().time
    last, seq = now() + desk.start_wait, view.seq
    while view.status is Status.STARTING and (left := last - now()) > 0:
        waited = await desk.runtime.wait(desk.parent, [view.id], mode="any_change", seconds=left, since=seq)
        view, seq = waited.views[0], waited.seq
    return view


async def show_all(desk: Desk, given: ListInput) -> Answer:
    """List the open ones, or the whole tree below the caller."""
    if given.tree:
        return {"success": True, "subagents": [answers.branch(view) for view in await desk.runtime.tree(desk.parent)]}
    views = await desk.runtime.list_subagents(desk.parent)
    return {"success": True, "subagents": [answers.summary(view) for view in views]}


async def send(desk: Desk, given: SendInput) -> Answer:
    """Hand over a message and say what became of it."""
    sent = await desk.runtime.send(desk.parent, given.id, given.message, mode=given.mode)
    told = answers.head(sent.view) | {"queued": sent.outcome is Outcome.QUEUED, "queued_messages": sent.queued}
    return told | {"outcome": str(sent.outcome), "note": sent.sentence}


async def poll(desk: Desk, given: PollInput) -> Answer:
    """Return what is new, or what follows a cursor."""
    page = await desk.runtime.poll(desk.parent, given.id, since=given.since_seq, limit=POLL_EVENTS)
    if page.expired:
        note = "Its log was deleted some time after its end; nothing more will come. Do not poll it again."
        return {"success": True, "id": given.id, "events": [], "expired": True, "done": True, "note": note}
    view = await desk.runtime.status(desk.parent, given.id)
    told = answers.head(view) | {
        "events": [answers.event(view, each) for each in page.rows],
        "unread_count": page.unread,
        "transport_alive": answers.alive(view),
        "next_seq": page.next_seq,
    }
    end = answers.ending(view)
    if answers.holds_result(view, page.rows):
        end.pop("result", None)
    return told | (end if not page.unread else {})


async def status(desk: Desk, given: StatusInput) -> Answer:
    """Return all that is known of one."""
    view = await desk.runtime.status(desk.parent, given.id)
    told = {"success": True, **answers.summary(view)}
    told |= {"transport_alive": answers.alive(view), "queued_messages": view.queued}
    if (error := answers.last_error(view)) is not None:
        told["last_error"] = error
    return told | answers.ending(view, given.result_offset)


async def stop(desk: Desk, given: StopInput) -> Answer:
    """Stop a subagent, or cancel its current task."""
    if given.scope == "task":
        cause = short_reason(given.reason or "", "cancelled by its parent")
        view = await desk.runtime.cancel(desk.parent, given.id, cause)
        return answers.head(view) | {"reason": cause, "scope": "task", "queued_messages": view.queued}
    view = await desk.runtime.stop(desk.parent, given.id, reason=given.reason or STOPPED)
    told = answers.head(view) | {"reason": answers.terminal_reason(view)}
    return told | answers.ending(view)


async def wait(desk: Desk, given: WaitInput) -> Answer:
    """Wait for tasks to end, questions or changes, within the bound of a tool."""
    ids = await _busy(desk, given.since_seq) if given.ids is None else given.ids
    if not ids:
        return {"success": True, "reason": "ended", "subagents": [], "note": "None of your subagents works on a task."}
    waited = await desk.runtime.wait(
        desk.parent, ids, mode=given.mode, seconds=desk.bounded(given.timeout), since=given.since_seq
    )
    told = [{**answers.head(view), **answers.ending(view)} for view in waited.views]
    for each in told:
        del each["success"]
    return {"success": True, "reason": str(waited.reason), "subagents": told, "next_seq": waited.seq}


async def _busy(desk: Desk, since: int | None) -> list[str]:
    """Return those that have something to do, and with a cursor those that may have come to an end after it."""
    views = await desk.runtime.list_subagents(desk.parent, ended=since is not None)
    found = [view.id for view in views if not view.settled or (since is not None and view.seq > since)]
    return found[-MAX_WAITED:]


async def answer(desk: Desk, given: AnswerInput) -> Answer:
    """Answer a question of a subagent, for this task only."""
    view = await desk.runtime.status(desk.parent, given.id)
    permits = [each for each in view.requests if each.id == given.request_id and each.kind.permits]
    options = [one for each in permits for one in each.options]
    if any(one.id == given.option_id and one.kind not in FOR_THE_TASK for one in options):
        sentence = f"Option {given.option_id} may hold for good, which only the operator may allow; choose another."
        return answers.failure(sentence, "needs_operator")
    answered = await desk.runtime.answer(desk.parent, given.id, given.request_id, given.option_id, text=given.text)
    return answers.head(answered)


BACKGROUND: Final = (
    Tool(
        "spawn_background_subagent",
        "Start a coding agent in a container of its own that works while you go on. For work that takes minutes and "
        "needs little from you; not for what you can do in a few calls. Its end is told to you: do not poll in a loop.",
        SpawnInput,
        spawn,
        "execute",
        open_world=True,
        limited=Limits.of_spawning,
    ),
    Tool(
        "list_background_subagents",
        "List your open subagents. Not needed each turn: you are told what changes.",
        ListInput,
        show_all,
        "read",
    ),
    Tool(
        "send_background_subagent",
        "Give a subagent its next task or a message; the answer says what became of it.",
        SendInput,
        send,
        "execute",
        open_world=True,
    ),
    Tool(
        "poll_background_subagent",
        "Read what a subagent said and did since you last read. To look in once, never in a loop: wait instead.",
        PollInput,
        poll,
        "read",
    ),
    Tool(
        "get_background_subagent_status",
        "Show a subagent's state, open questions and, once its task is over, the result.",
        StatusInput,
        status,
        "read",
    ),
    Tool(
        "stop_background_subagent",
        "End a subagent you need no more, or cancel its current task. What it changed comes out as a patch.",
        StopInput,
        stop,
        "execute",
        destructive=True,
        repeatable=True,
    ),
    Tool(
        "wait_background_subagents",
        "Wait until a subagent has finished or asks. Only when you can do nothing else; call again after a timeout.",
        WaitInput,
        wait,
        "read",
    ),
    Tool(
        "answer_background_subagent",
        "Answer a subagent's open question with one of the options it offered, or with words.",
        AnswerInput,
        answer,
        "execute",
        open_world=True,
    ),
)
