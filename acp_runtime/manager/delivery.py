"""The delivery of a prompt, and what goes with it: its text, what it changed, and the words for why it failed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeVar

from acp_runtime.core.effects import Prompt
from acp_runtime.core.envelope import enveloped
from acp_runtime.core.inputs import ChannelClosed, PromptAnswered, PromptBroke, PromptLaid
from acp_runtime.core.model import Steering, Subagent, Task
from acp_runtime.core.request import Questions
from acp_runtime.manager.launcher import Fate, Launched, LaunchError, LaunchRequest
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.session.errors import AgentError, LoginNeededError, SessionClosedError
from acp_runtime.session.opening import Terms
from acp_runtime.session.session import AcpSession
from acp_runtime.wire.acp import StopReason

log = logging.getLogger(__name__)

T = TypeVar("T")

MEASURE_SECONDS: Final = 30.0
INSPECT_SECONDS: Final = 0.2
FATE_SECONDS: Final = 2.0


class Aftermath(NamedTuple):
    """What an answered prompt left, as `PromptAnswered` has it: None for files that could not be counted."""

    files_changed: int | None
    stderr_tail: str
    skipped_lines: int
    shortage: str
    ran_out: tuple[int, int] = (0, 0)


class Delivery:
    """One prompt on its way to an agent, or to be claimed from it, and the answer on its way back.

    `launched` counts the files that the task changed, None where nobody does. `cancelled` calls this one off, and none
    that comes behind it.
    """

    def __init__(self, around: Surroundings, effect: Prompt, session: AcpSession, launched: Launched | None) -> None:
        self._around = around
        self._effect = effect
        self._session = session
        self._launched = launched
        self._skipped = session.skipped_lines
        self._with_agent = False
        self._kept_back: ChannelClosed | None = None
        self.cancelled = asyncio.Event()

    def keeps_back(self, closed: ChannelClosed) -> bool:
        """Take what the core is to hear behind the answer; False where nothing is awaited, and it may hear it now."""
        if self._with_agent:
            self._kept_back = closed
        return self._with_agent

    async def perform(self, permitted: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Deliver when the agent may no more and no less than is right for the task, and tell what came of it.

        One that is called off before is not delivered. What counts files for the task before may still wind up.
        """
        session, around, effect = self._session, self._around, self._effect
        try:
            if not session.inherits:
                async with unless(self.cancelled, permitted()):
                    pass
            self._with_agent = True
            told = "" if session.inherits else await around.lead.told(around.state(), effect.task_id)
            if self.cancelled.is_set() and not session.inherits:  # the cancel would reach the agent before its task
                await around.store(PromptAnswered(effect.attempt, effect.task_id, StopReason.CANCELLED, None))
                return
            await self._exchange(told)
        finally:
            self._with_agent = False
            if self._kept_back is not None:
                around.tell(self._kept_back)

    async def _exchange(self, told: str) -> None:
        session, around, effect = self._session, self._around, self._effect
        text, meta = prompt_of(around.state(), effect.task_id, told)
        try:
            stop_reason = await (session.claim() if session.inherits else session.prompt(text, meta, self._laid))
            await around.lead.seen(around.state(), effect.task_id, cancelled=stop_reason == StopReason.CANCELLED)
            async with self._aftermath() as left:
                await around.store(PromptAnswered(effect.attempt, effect.task_id, stop_reason, *left))
                session.forget_answer()  # here: behind the block it might be that of the next prompt
        except AgentError as error:
            async with self._aftermath() as left:
                around.tell(PromptBroke(effect.attempt, effect.task_id, str(error), *left))
        except SessionClosedError:
            pass

    async def _laid(self, request: int, offset: int) -> None:
        if not await self._around.store(PromptLaid(self._effect.attempt, self._effect.task_id, request, offset)):
            raise SessionClosedError("what is not in the log is given to no agent")

    @asynccontextmanager
    async def _aftermath(self) -> AsyncIterator[Aftermath]:
        """Give what the prompt left; files are counted where there is somebody to ask and in time.

        An agent that has answered is not to be taken for one that ignores its cancel: once it is called off the count
        has only a moment. What the task's calls of models used is `settled` first: whoever hears of its end is told all
        of it.
        """
        session, launched = self._session, self._launched
        await self._around.settled()
        skipped = session.skipped_lines - self._skipped
        if launched is None:
            yield Aftermath(None, session.diagnosis.text(), skipped, "")
            return
        shortage, moment = await launched.shortage(), self._around.state().limits.cancel_grace / 5
        async with unless(self.cancelled, _count(launched), moment) as changed:
            yield Aftermath(changed, session.diagnosis.text(), skipped, shortage, launched.ran_out)


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


@asynccontextmanager
async def unless(
    cancelled: asyncio.Event, work: Coroutine[Any, Any, T], moment: float = 0.0
) -> AsyncIterator[T | None]:
    """Give what this comes to, or None when it is cancelled and not done a moment (in seconds) later.

    It is left where it stands then, and has ended when the block is left.
    """
    doing, cancelling = asyncio.create_task(work), asyncio.create_task(cancelled.wait())
    try:
        await asyncio.wait((doing, cancelling), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((doing,), timeout=moment)
        yield doing.result() if doing.done() else None
    finally:
        await called_off(doing, cancelling)


async def called_off(*under_way: asyncio.Task[Any]) -> None:
    """End what is under way, and return when all of it has ended. Who is cancelled meanwhile is."""
    for each in under_way:
        each.cancel()
    if under_way:
        await asyncio.wait(under_way)


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
