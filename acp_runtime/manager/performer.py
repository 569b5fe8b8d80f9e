"""The hands of one actor: performs effects and reports what came of them as observations.

Every effect runs as a task of its own that ends by itself or by `close`. Nothing here decides anything: an effect that
fails is told, and the core says what follows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from acp_runtime.core.effects import Answer, Cancel, Disband, Effect, Halt, Inspect, Launch, Permit, Prompt, Steer
from acp_runtime.core.ids import request_number
from acp_runtime.core.inputs import (
    ChannelClosed,
    DeathProven,
    Halted,
    Reattached,
    Refused,
    SessionReady,
    StartBroke,
    SteerAnswered,
    StepBegan,
    StopSubagent,
    SubtreeOver,
)
from acp_runtime.core.model import Reason
from acp_runtime.core.observations import MANAGER_ENDED
from acp_runtime.manager.delivery import MEASURE_SECONDS, Delivery, called_off, explained, kind_of, steer, terms_of
from acp_runtime.manager.hearing import observer_of
from acp_runtime.manager.launcher import Drained, Ended, Launched, LaunchError
from acp_runtime.manager.permitting import Permitting
from acp_runtime.manager.recovery import (
    LOOK_SECONDS,
    adopted,
    ended_surely,
    hearing_seconds,
    insist,
    never_delivered,
    regain,
    unheard,
)
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.session.errors import SessionError
from acp_runtime.session.observer import Observer
from acp_runtime.session.session import AcpSession

log = logging.getLogger(__name__)

ATTEMPT_SHIFT: Final = 40  # a cursor into what an agent wrote holds its attempt above the count of bytes
STOP_GRACE: Final = 2.0
HALT_SECONDS: Final = 60.0


class Performer:
    """Owns the agent's session and its sandbox from `Launch` to `Halt`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._session: AcpSession | None = None
        self._attempt = 0
        # Set, but for an adopted agent of which the log does not know yet what it was given: a line moves the offset.
        self._gate = asyncio.Event()
        self._gate.set()
        self._launched: Launched | None = None
        self._tasks: dict[Effect, asyncio.Task[None]] = {}
        self._delivery: Delivery | None = None
        self._over = False
        self._permitting = Permitting(around, lambda: self._launched)

    @property
    def launched(self) -> Launched | None:
        return self._launched

    def stderr(self, since: int) -> tuple[str, int]:
        """Return what the agent wrote there after the cursor `since`, as far as it is held, and the next cursor."""
        if self._session is None:
            return "", since
        begin = self._attempt << ATTEMPT_SHIFT
        text, count = self._session.diagnosis.stderr(max(0, since - begin))
        return text, begin + count

    def perform(self, effect: Effect) -> None:
        """Begin an effect; one that is under way already is not begun twice."""
        match effect:
            case Launch():
                self._begin(effect, lambda: self._launch(effect))
            case Prompt():
                self._deliver(effect)
            case Cancel():
                self._cancel()
            case Answer(request_id=request, option_id=option, content=content) if self._session is not None:
                self._session.answer(request_number(request), option, content)
            case Steer():
                self._begin(effect, lambda: self._steer(effect))
            case Permit():
                self._permitting.change()
                self._begin(effect, self._permitting.settle)
            case Inspect():
                self._begin(effect, lambda: insist(lambda: self._inspect(effect)))
            case Disband():
                self._begin(effect, lambda: self._disband(effect))
            case Halt():
                self._begin(effect, lambda: self._halt(effect))

    async def close(self) -> None:
        """End everything that is under way and the agent with it. Idempotent.

        An end that takes longer than its parent was to wait for it goes on to its own end, for a while.
        """
        if ends := [task for effect, task in self._tasks.items() if isinstance(effect, Halt)]:
            await asyncio.wait(ends, timeout=HALT_SECONDS)
        await self._end_tasks()
        if not self._over:
            await self._end_agent()

    async def release(self) -> None:
        """End everything that is under way, and let the agent go on for another manager where it can."""
        await self._end_tasks()
        await self._let_go()

    async def _end_tasks(self, *, but: tuple[type[Effect], ...] = ()) -> None:
        await called_off(*(task for effect, task in self._tasks.items() if not isinstance(effect, but)))

    def _begin(self, effect: Effect, work: Callable[[], Awaitable[None]]) -> None:
        if effect in self._tasks:
            return

        async def guarded() -> None:
            try:
                await work()
            except Exception as error:
                log.exception("performing %s failed", effect)
                self._tell_failure(effect, error)
            finally:
                self._tasks.pop(effect, None)

        self._tasks[effect] = asyncio.create_task(guarded(), name=f"{type(effect).__name__}")

    def _tell_failure(self, effect: Effect, error: Exception) -> None:
        """Tell the core of a failure of ours that would leave it waiting; whatever else fails has a near deadline."""
        if isinstance(effect, Launch):
            cause = f"the manager failed: {error!r}; see its log"
            self._around.tell(StartBroke(effect.attempt, cause, "internal_error"))
        if isinstance(effect, Prompt):  # what is with the agent by now nobody knows
            cause = f"the manager failed at a task: {error!r}; its log says how"
            self._around.tell(StopSubagent(Reason.MANAGER_FAILED, "manager", cause))

    def _cancel(self) -> None:
        """Call the newest delivery off, if any is under way, once."""
        under_way = any(isinstance(each, Prompt) for each in self._tasks)
        if self._session is not None and self._delivery is not None and under_way:
            self._delivery.cancelled.set()
            self._session.cancel()

    async def _launch(self, effect: Launch) -> None:
        attempt, around = effect.attempt, self._around
        if not await self._part_from_earlier(effect):
            cause = "the container of the attempt before could not be removed"
            around.tell(StartBroke(attempt, cause, "engine_unreachable"))
            return
        self._attempt = attempt
        self._gate.set()
        session = self._session = AcpSession(around.epoch, self._observer(attempt))
        request = around.request(attempt)
        try:
            launched = self._launched = await around.launcher.launch(request, session)
            session.attach(launched.channel)
            pid = await launched.pid()
            opened = await session.open(
                cwd=launched.cwd,
                auth_method=request.kind.auth_method,
                version=around.version,
                step=lambda step: around.tell(StepBegan(attempt, step, launched.container, pid)),
                title=request.subagent,
                resume=request.resume,
                terms=terms_of(request, launched),
            )
        except (LaunchError, SessionError) as error:
            cause = await explained(error, self._launched, self._session)
            around.tell(StartBroke(attempt, cause, kind_of(error)))
            return
        around.tell(
            SessionReady(
                attempt,
                opened.session_id,
                opened.agent_name,
                opened.agent_version,
                opening=opened.opening,
                steering=opened.steering,
                pid=await launched.pid(),
                upto=session.place.upto,
            )
        )
        self._tell_if_gone(attempt, session)

    def _tell_if_gone(self, attempt: int, session: AcpSession) -> None:
        """Tell again what the core could not use before it knew that the channel was there."""
        if (gone := session.closed or session.lost) is not None:
            self._around.tell(ChannelClosed(attempt, gone))

    async def _part_from_earlier(self, effect: Launch) -> bool:
        """End what is left of the attempt before; what it stored stays. Return whether its end is certain."""
        await called_off(*(task for other, task in self._tasks.items() if other is not effect))
        await self._shut()
        launched, self._launched = self._launched, None
        return launched is None or await launched.leave()

    def _observer(self, attempt: int) -> Observer:
        def closed(reason: str) -> None:
            observation = ChannelClosed(attempt, reason)
            if self._delivery is None or not self._delivery.keeps_back(observation):
                self._around.tell(observation)

        return observer_of(self._around, attempt, closed)

    def _deliver(self, effect: Prompt, *, counted: bool = True) -> None:
        """Begin a delivery, once, where there is an agent; it is the one that is called off from then on."""
        if effect in self._tasks or self._session is None:
            return
        delivery = Delivery(self._around, effect, self._session, self._launched if counted else None)
        self._delivery = delivery
        self._begin(effect, lambda: delivery.perform(self._permitting.settle))

    async def _steer(self, effect: Steer) -> None:
        if self._session is None:
            return
        outcome = await steer(self._session, self._around.state(), effect.steer_id)
        if outcome is not None:
            self._around.tell(SteerAnswered(effect.attempt, effect.steer_id, outcome))

    async def _inspect(self, effect: Inspect) -> None:
        """Try until the channel goes on or the death is proven; the core's deadline ends this otherwise."""
        attempt, around = effect.attempt, self._around
        if self._launched is None:
            await self._adopt(attempt)
        launched, session = self._launched, self._session
        if launched is None or session is None:
            while not await around.launcher.reap(around.request(attempt)):  # noqa: ASYNC110 - the engine tells nobody
                await asyncio.sleep(LOOK_SECONDS)
            cause = "the manager that ran the agent ended, and the agent with it"
            around.tell(DeathProven(attempt, None, cause, MANAGER_ENDED))
            return
        fate = await regain(launched, session, lambda words: around.tell(Refused(attempt, words)))
        if fate is not None:
            drained = await self._hear_out(attempt, launched)
            await session.flush()
            fate, kept = drained.fate or fate, session.place.upto > 0
            around.tell(DeathProven(attempt, fate.exit_code, fate.cause, kept=kept, accepted=drained.accepted))
            return
        taken_up = not self._gate.is_set()
        undelivered = taken_up and never_delivered(around.state(), launched.channel.input_end)
        if undelivered:
            session.disown()
        await around.store(Reattached(attempt, taken_up, undelivered))
        self._gate.set()
        self._tell_if_gone(attempt, session)

    async def _adopt(self, attempt: int) -> bool:
        """Take up the agent of an earlier manager, dead or alive. Return whether there is one."""
        session = AcpSession(self._around.epoch, self._observer(attempt))
        launched = await adopted(self._around, session, attempt)
        if launched is None:
            return False
        self._attempt, self._session, self._launched = attempt, session, launched
        self._gate = asyncio.Event()
        session.attach(launched.channel, self._gate)
        return True

    async def _hear_out(self, attempt: int, launched: Launched, *, counted: bool = True) -> Drained:
        """Take in what a dead agent had written, the answer to its prompt included when it came to that.

        The changed files of a task that it had answered are `counted`, where there is the time.
        """
        task = self._around.state().active
        if task is not None and task.prompt is not None:
            self._deliver(Prompt(attempt, task.id, task.deliveries), counted=counted)
        drained = await launched.drain()
        if prompts := [task for effect, task in self._tasks.items() if isinstance(effect, Prompt)]:
            await asyncio.wait(prompts, timeout=MEASURE_SECONDS + STOP_GRACE)
        return drained

    async def _disband(self, effect: Disband) -> None:
        self._cancel()
        await self._around.lead.disband(self._around.state())
        self._around.tell(SubtreeOver(effect.attempt))

    async def _halt(self, effect: Halt) -> None:
        state = self._around.state()
        until = asyncio.get_running_loop().time() + hearing_seconds(state)
        in_hand = self._launched is not None and self._session is not None and self._session.lost is None
        if not (to_hear := unheard(state, in_hand=in_hand)):
            await self._part()
        await self._end_tasks(but=(Halt,))
        drained: Drained | None = Drained()
        try:
            if to_hear:
                drained = await self._hear_last(effect.attempt, until)
            ended = await self._let_go() if drained is None else await self._end_agent()
        except Exception:
            log.exception("the end of an agent failed")
            ended = Ended(confirmed=False, exported=False)
        self._over = True
        accepted = None if drained is None else drained.accepted
        self._around.tell(Halted(effect.attempt, ended.confirmed, ended.exported, accepted))

    async def _hear_last(self, attempt: int, until: float) -> Drained | None:
        """End an agent with words to be heard, and hear it out as a later manager would; None where that is not done.

        One of which not all is heard in time, or not before it was given up, is left to the reaper with all it wrote.
        """
        await self._let_go()
        heard: Drained | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                said = Drained()
                if await self._adopt(attempt) and self._launched is not None and self._session is not None:
                    await ended_surely(self._launched)
                    said = await self._hear_out(attempt, self._launched, counted=False)
                    await self._session.flush()
                heard = said
        await self._end_tasks(but=(Halt,))
        return None if self._around.state().lifecycle.over else heard

    async def _part(self) -> None:
        """Ask the agent to end its turn and give it a moment, so that its last words are kept."""
        prompts = [task for effect, task in self._tasks.items() if isinstance(effect, Prompt)]
        if self._session is not None and prompts and self._session.closed is None:
            if self._delivery is None or not self._delivery.cancelled.is_set():
                self._cancel()
            await asyncio.wait(prompts, timeout=STOP_GRACE)

    async def _end_agent(self) -> Ended:
        await self._shut()
        launched, self._launched = self._launched, None
        if launched is not None:
            return await launched.end()
        return await self._around.launcher.sweep(self._around.request(self._around.state().attempt))

    async def _let_go(self) -> Ended:
        await self._shut()
        if (launched := self._launched) is not None:
            self._launched = None
            await launched.release()
        return Ended(confirmed=False, exported=False)

    async def _shut(self) -> None:
        session, self._session = self._session, None
        try:
            if session is not None:
                await session.shut()
        except Exception:
            # The log may be somebody else's by now; the agent is ended all the same.
            log.exception("the last words of an agent could not be stored")
