"""What goes with the delivery of a prompt: its text, what it changed, and the words for why it failed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from acp_runtime.core.envelope import enveloped
from acp_runtime.core.model import Steering, Subagent, Task
from acp_runtime.core.request import Questions
from acp_runtime.manager.launcher import Fate, Launched, LaunchError, LaunchRequest
from acp_runtime.session.errors import LoginNeededError, SessionClosedError
from acp_runtime.session.opening import Terms
from acp_runtime.session.session import AcpSession

log = logging.getLogger(__name__)

MEASURE_SECONDS: Final = 30.0
INSPECT_SECONDS: Final = 0.2
FATE_SECONDS: Final = 2.0


def prompt_of(state: Subagent, task_id: str, told: str = "") -> tuple[str, dict[str, str]]:
    """Return the text of a task's prompt, and what goes along for the agent's own log.

    The note stands before the task's text, and behind it what is `told` of those that the subagent leads.
    """
    task = state.task(task_id)
    words = [each for each in ((task.note, _text(state, task), told) if task is not None else ()) if each]
    source = "spawn" if task is not None and task.number == 1 else "send"
    return "\n\n".join(words), {"purpose": state.purpose, "subagentId": state.id, "source": source}


def _text(state: Subagent, task: Task) -> str:
    if task.woken:
        return task.text
    return enveloped(task.text, subagent=state.id, parent=state.parent, lineage=state.order.lineage)


def terms_of(request: LaunchRequest, launched: Launched) -> Terms:
    """Return what an agent's session is opened with."""
    return Terms(
        failure_records=request.kind.failure_records,
        forms=request.order.questions is Questions.ASK,
        servers=launched.servers,
        meta=request.kind.session_meta,
    )


async def steer(session: AcpSession, state: Subagent, steer_id: str) -> Steering | None:
    """Put a message into the running turn and return what the agent says became of it.

    None where it is not open, where the agent goes away, which its channel tells, and for one that is silent for longer
    than the answer can be of use: the message's deadline rests while the agent is out of reach.
    """
    message = next((each for each in state.steers if each.id == steer_id), None)
    if message is None:
        return None
    limits = state.limits
    with suppress(SessionClosedError, TimeoutError):
        async with asyncio.timeout(limits.steer + limits.lost_grace + limits.cancel_grace):
            return await session.steer(message.text)
    return None


class Aftermath(NamedTuple):
    """What an answered prompt left, as `PromptAnswered` has it: None for files that could not be counted."""

    files_changed: int | None
    stderr_tail: str
    skipped_lines: int
    shortage: str
    ran_out: tuple[int, int] = (0, 0)


@asynccontextmanager
async def aftermath(
    session: AcpSession,
    launched: Launched | None,
    cancelled: asyncio.Event,
    moment: float,
    settled: Callable[[], Awaitable[None]],
    *,
    skipped: int,
) -> AsyncIterator[Aftermath]:
    """Give it; files are counted where there is somebody to ask and in time. Lines were `skipped` before the prompt.

    An agent that has answered is not to be taken for one that ignores its cancel: once the task is `cancelled` the
    count has only this `moment`, in seconds. What is under way then ends with the block, which is left at once where
    nothing is: the same task may be called for again, and must not find this one still there. What the task's calls of
    models used is `settled` first: whoever hears of its end is told all of it.
    """
    await settled()
    if launched is None:
        yield Aftermath(None, session.diagnosis.text(), session.skipped_lines - skipped, "")
        return
    shortage = await launched.shortage()
    counting, cancelling = asyncio.create_task(_count(launched)), asyncio.create_task(cancelled.wait())
    try:
        await asyncio.wait((counting, cancelling), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((counting,), timeout=moment)
        cancelling.cancel()
        await asyncio.wait((cancelling,))
        changed = counting.result() if counting.done() else None
        yield Aftermath(changed, session.diagnosis.text(), session.skipped_lines - skipped, shortage, launched.ran_out)
    finally:
        for each in (counting, cancelling):
            each.cancel()
        if left := [each for each in (counting, cancelling) if not each.done()]:
            await asyncio.wait(left)


async def _count(launched: Launched) -> int | None:
    """Count. Whatever goes wrong here must not cost the task its result."""
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            return await launched.changed_files()
    except (LaunchError, TimeoutError) as error:
        log.warning("the changed files could not be counted: %s", error)
    except Exception:
        log.exception("the changed files could not be counted")
    return None


async def explained(error: Exception, launched: Launched | None, session: AcpSession | None) -> str:
    """Return the error with what is known of the process behind it: its end, and what it wrote last."""
    parts = [str(error)]
    if isinstance(error, SessionClosedError) and launched is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FATE_SECONDS):
                parts = [(await _death(launched)).cause]
    words = session.diagnosis.text() if session is not None else ""
    if words:
        parts.append(f"it wrote: {words[-500:]}")
    return "; ".join(parts)


async def _death(launched: Launched) -> Fate:
    while (fate := await launched.fate()) is None:  # noqa: ASYNC110 - the engine must be asked; it tells nobody
        await asyncio.sleep(INSPECT_SECONDS)
    return fate


def kind_of(error: Exception) -> str:
    """Return the stable word for what went wrong with a start."""
    if isinstance(error, LaunchError):
        return error.kind
    if isinstance(error, SessionClosedError):
        return "agent_exited"
    return "login_needed" if isinstance(error, LoginNeededError) else "protocol_error"
