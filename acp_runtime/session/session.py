"""One ACP session over one channel: the client's side of the protocol towards an agent that is not trusted.

Promises: updates reach the observer in wire order and coalesced; one prompt at a time; a request of the agent that we
do not serve is refused with -32601 at once; whatever the agent writes, nothing here raises and memory stays bounded
(a line over 16 MiB is skipped, a flood pauses the channel). Waits for an answer of the agent have no bound of their
own: the deadlines are the core's, which cancels the caller.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from acp_runtime.core.model import Steering, Step
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.transcript import Entry
from acp_runtime.session.calls import Calls
from acp_runtime.session.channel import Channel
from acp_runtime.session.diagnosis import Diagnosis
from acp_runtime.session.doubt import Doubt
from acp_runtime.session.errors import AgentError, SessionError
from acp_runtime.session.intake import Intake
from acp_runtime.session.observer import Inheritance, Laid, Observer, Opened, Place
from acp_runtime.session.opening import Opener, Terms, greeted
from acp_runtime.session.outgoing import First, Outgoing
from acp_runtime.session.questions import ASKING, Questions
from acp_runtime.session.steering import steered
from acp_runtime.session.strays import Strays
from acp_runtime.session.transcript import Coalescer
from acp_runtime.wire import acp
from acp_runtime.wire.acp import AgentMethod, ClientMethod, ErrorCode
from acp_runtime.wire.jsonrpc import Message, Noise, Notification, Peer, Request, Response, Skipped
from acp_runtime.wire.jsontext import compact
from acp_runtime.wire.ndjson import LineSplitter, Oversized

FLUSH_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 0.1
SETTLE_SECONDS: Final = 2.0
EARLY_UPDATES: Final = 256
EARLY_CHARS: Final = 65_536  # of one update: what comes before the session exists is small talk
PENDING_BYTES: Final = 1_048_576
STDOUT: Final = 1
USUAL: Final = Terms()


class AcpSession:
    """The receiver of a channel, and the verbs of ACP over it: `attach`, `open`, prompts, and `shut` at the end."""

    def __init__(self, epoch: int, observer: Observer) -> None:
        self._observer = observer
        self._peer = Peer(epoch)
        self._lines = LineSplitter()
        self._updates = Coalescer()
        self._dirty, self._full = asyncio.Event(), asyncio.Event()
        self._calls = Calls(self._peer, self._post)
        self.strays = Strays(self._updates, self._dirty)
        self._questions = Questions(self._peer, self.strays.drop)
        self._early: deque[tuple[str, dict[str, Any]]] = deque(maxlen=EARLY_UPDATES)
        self._intake = Intake()
        self._doubt = Doubt(self._calls, lambda: self.lost is not None or self._paused, self.cancel)
        self._channel: Channel | None = None
        self._outgoing: Outgoing | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self._prompting = False
        self._starting = True
        self._replaying = False
        self._paused = False
        self._heard_count = self.skipped_lines = 0
        self._newest = ""
        self.diagnosis = Diagnosis()
        self.session_id: str | None = None
        self.lost: str | None = None
        self.closed: str | None = None

    # ---- receiver: what the agent writes

    def on_stdout(self, data: bytes) -> None:
        lines = self._lines.feed(data)
        for line, end in zip(lines, self._lines.ends, strict=True):
            self._take_line(line, end)
        if self._intake.overdue or (self._lines.skipping and self._intake.kept):
            self._dirty.set()
        self._press()

    def on_stderr(self, data: bytes) -> None:
        self.diagnosis.on_stderr(data)

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        """Go on behind output that is lost."""
        if stream != STDOUT:
            self.diagnosis.on_gap(length)
            return
        self._lines.skip(length)
        self._intake.read = self._lines.fed
        if self.session_id is not None and self._intake.read > self._intake.known:  # else the log has it
            self._updates.lose(length)
        self._doubt.arise(offset, length)

    def on_lost(self, reason: str) -> None:
        """Tell that the agent is out of reach; what is awaited of it is awaited on."""
        self.lost = reason
        self._observer.lost(reason)

    def on_closed(self, reason: str) -> None:
        rest = self._lines.finish()
        if rest is not None:
            self._take_line(rest, self._intake.read)
        self.closed = reason
        self._calls.close(reason)
        self._observer.closed(reason)

    def _take_line(self, line: bytes | Oversized, end: int) -> None:
        """Take a line in. Of one that an earlier manager has stored only an answer may still be news."""
        for message in self._peer.receive(line):
            if end > self._intake.known or isinstance(message, Response):
                self._take(message, end)
        self._intake.read = end

    def _take(self, message: Message, end: int) -> None:
        match message:
            case Response():
                self._answered(message)
            case Notification(method=ClientMethod.SESSION_UPDATE, params=params):
                self._update(params)
            case Request(method=method) if method in ASKING:
                self._ask(message, end)
            case Request():
                self._refuse(message.id, message.method)
            case Noise(text=text):
                self.diagnosis.on_noise(text)
            case Skipped(request=request):
                self.skipped_lines += 1
                if request is not None:
                    self._post(self._peer.refuse(request, ErrorCode.INVALID_REQUEST, "the message is over 16 MiB"))

    def _answered(self, response: Response) -> None:
        if response.method == AgentMethod.SESSION_PROMPT:
            self._intake.answer_at = self._intake.read
        self._calls.answered(response)

    def _update(self, params: Any) -> None:
        session_id, kind, update = acp.read_update(params)
        if self._replaying:
            self._heard_count += 1  # what was said before stands in the log already
        elif self.session_id is None:
            if len(compact(update)) <= EARLY_CHARS:
                self._early.append((session_id, update))
        elif session_id == self.session_id:
            self._heard_count += 1
            self._newest = kind
            self._doubt.heard(kind)
            self._updates.add(update)
            self._questions.note(update)
            self._dirty.set()
        else:
            self.strays.drop()

    def _ask(self, request: Request, end: int) -> None:
        upto = end if self._intake.kept else 0
        question = self._questions.take(request, self.session_id if self._prompting else None, upto)
        if isinstance(question, bytes):
            self._post(question)
        else:
            self._doubt.clear()
            self._observer.asked(tuple(self._updates.take()), self._intake.place, question)

    @property
    def place(self) -> Place:
        """How far what the agent wrote was told at the last flush; nowhere when it is not kept for us."""
        return self._intake.flushed

    def _refuse(self, ident: int | str, method: str) -> None:
        text = f"this client does not serve {one_line(method, 100)}"
        self._post(self._peer.refuse(ident, ErrorCode.METHOD_NOT_FOUND, text))

    def _post(self, line: bytes, first: First | None = None) -> None:
        if self._outgoing is not None and self.closed is None:
            self._outgoing.put(line, first)

    def _press(self) -> None:
        """Let a flood wait in the agent: pause the channel while too much is unwritten on either side."""
        if self._updates.ready:
            self._full.set()
        busy = self._updates.size > PENDING_BYTES or (self._outgoing is not None and self._outgoing.crowded)
        if self._channel is None or busy == self._paused or self.closed is not None:
            return
        self._paused = busy
        if busy:
            self._channel.pause()
        else:
            self._channel.resume()

    # ---- verbs

    def attach(self, channel: Channel, gate: asyncio.Event | None = None) -> None:
        """Take the channel whose receiver this session is; write once the gate is set. Starts what `shut` ends."""
        self._channel = channel
        self._intake.kept = self._intake.kept or channel.input_end is not None
        self._outgoing = Outgoing(channel, self._press, gate)
        self._flusher = asyncio.create_task(self._flush_for_ever(), name="session-flusher")

    def take_over(self, given: Inheritance) -> None:
        """Be the session that an earlier manager opened, before the channel begins to speak.

        What the agent wrote is to be given from the start of the place on.
        """
        self.session_id = given.session_id
        self._starting = False
        self._intake.take_over(given.place)
        self._lines = LineSplitter(start=given.place.start)
        self._questions.reopen(given.asked, given.count)
        if given.prompt is not None:
            self._prompting = True
            self._calls.inherit(given.prompt, AgentMethod.SESSION_PROMPT)

    async def open(
        self,
        *,
        cwd: str,
        auth_method: str | None,
        version: str,
        step: Callable[[Step], None],
        title: str = "subagent",
        resume: str | None = None,
        terms: Terms = USUAL,
    ) -> Opened:
        """Initialize, authenticate where the agent kind wants it, and make a session, or go on in the one of before.

        `resume` names an earlier session; where the agent cannot go on in it, a new one is made and the opening says
        so. `step` is told before each, and a new session is named `title`. Raises `AgentError` (a sentence) when the
        agent answers wrongly, `LoginNeededError` when it wants a login, `SessionClosedError` when it went away.
        """
        step(Step.INITIALIZE)
        hello = await greeted(self._calls.call, version, terms)
        opener = Opener(self._calls.call, self._without_replay, hello, cwd, title=title, terms=terms)
        if auth_method is not None:
            step(Step.AUTHENTICATE)
            await opener.log_in(auth_method)
        step(Step.SESSION)
        self.session_id, opening = await opener.open(resume)
        for session_id, update in self._early:
            self._update({"sessionId": session_id, "update": update})
        self._early.clear()
        await self.flush()
        self._starting = False
        return Opened(self.session_id, one_line(hello.name, 60), one_line(hello.version, 60), opening, hello.steering)

    async def _without_replay(self, loading: Awaitable[Any]) -> Any:
        """Await a load; what the agent replays before its answer and for a moment after it is not heard again."""
        self._replaying = True
        try:
            result = await loading
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._quiet()
            return result
        finally:
            self._replaying = False

    async def prompt(self, text: str, meta: Mapping[str, Any] | None = None, laid: Laid | None = None) -> str:
        """Deliver one prompt and return its stop reason, after the last update of its turn was stored.

        Where input is kept for the agent, `laid` is awaited with the id of the request and its offset before it is
        written. Raises `AgentError` when the agent answers with an error or says that its turn failed,
        `SessionClosedError` when it goes away.
        """
        if self._prompting or self.session_id is None:
            raise AgentError("a prompt is with the agent already" if self._prompting else "there is no session")
        self._intake.answer_at = None
        params = acp.session_prompt(self.session_id, text, meta)
        return await self._turn(self._calls.call(AgentMethod.SESSION_PROMPT, params, laid))

    @property
    def inherits(self) -> bool:
        """Whether there is a prompt to `claim`."""
        return self._calls.inherits

    async def claim(self) -> str:
        """Return what `prompt` would have returned to the manager that sent the prompt. Raises what that raises."""
        return await self._turn(self._calls.claim())

    def disown(self) -> None:
        """Expect no answer any more to a prompt that was taken over: the agent never got it."""
        self._calls.disown()
        self._prompting = False

    async def _turn(self, calling: Awaitable[Any]) -> str:
        self._prompting = True
        try:
            result = await calling
        except SessionError:
            self._prompting = False
            await self._settle()
            raise
        finally:
            self._prompting = False
        await self._settle()
        stop_reason = acp.read_prompt(result)
        if stop_reason is None:
            raise AgentError("the agent answered the prompt without a stop reason")
        if stop_reason == acp.StopReason.END_TURN and (failure := acp.read_failure(result)):
            raise AgentError(f"the agent says that its turn failed: {one_line(failure, 500)}")
        return stop_reason

    def forget_answer(self) -> None:
        """Hold what the agent wrote since its last answer back no more: that answer is stored."""
        self._intake.answer_at = None
        if self._intake.overdue:
            self._dirty.set()

    def cancel(self) -> None:
        """Ask the agent to end its turn: a notification; the prompt's answer is still awaited."""
        if self.session_id is not None:
            self._post(self._peer.notify(AgentMethod.SESSION_CANCEL, acp.session_cancel(self.session_id)))

    async def steer(self, text: str) -> Steering:
        """Put a message into the running turn and return what the agent says became of it.

        `QUEUED`: it did not take the message, which is to be given as a prompt. Raises `SessionClosedError`.
        """
        if self.session_id is None or not self._prompting:
            return Steering.QUEUED
        try:
            result = await self._calls.call(AgentMethod.SESSION_STEERING, acp.session_steering(self.session_id, text))
        except AgentError:
            return Steering.QUEUED
        return steered(result)

    def answer(self, number: int, option_id: str, content: str = "") -> None:
        """Answer a question once; an empty option id calls it off. `content` fills in a form, as JSON."""
        awaited = self._questions.answered(number)
        if awaited is not None:
            self._post(self._peer.respond(awaited.wire, awaited.result(option_id, content)))

    async def shut(self) -> None:
        """Store what was heard, end the tasks and the channel. Idempotent; bounded by the channel's own bounds."""
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            flusher.cancel()
            # It may have failed long ago, with the store: what stands below must be ended all the same.
            await asyncio.gather(flusher, return_exceptions=True)
        if self._outgoing is not None:
            await self._outgoing.close()
        if self._channel is not None:
            await self._channel.close()
        await self.flush()

    async def _settle(self) -> None:
        """Wait for updates that come after the answer: none when usage closed the turn, else until it is quiet."""
        for number in self._questions.open:
            self.answer(number, "")
        if self.closed is None and self._newest != acp.UpdateKind.USAGE_UPDATE:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._quiet()
        await self.flush()

    async def _quiet(self) -> None:
        seen = -1
        while seen != self._heard_count:
            seen = self._heard_count
            await asyncio.sleep(QUIET_SECONDS)

    async def _flush_for_ever(self) -> None:
        while True:
            await self._dirty.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._full.wait()
            await self.flush()

    async def _store(self, entries: tuple[Entry, ...]) -> None:
        place = self._intake.place
        stored = await self._observer.heard(entries, place)
        if not self._intake.kept or self._channel is None:
            return
        if self._starting:  # a later manager begins the start anew: it reads none of this
            stored = place.start
        elif passed := self._intake.passed_over(stored):
            self._intake.flushed = self._intake.place
            stored = await self._observer.heard((*self._updates.take(), *passed), self._intake.place)
        # What is not kept of a line need not be kept below us either: the line may be longer than the journal.
        waste = self._lines.skipping and self._intake.answer_at is None and self._updates.size == 0
        await self._channel.acknowledge(self._lines.fed if waste else stored)
        self._intake.acknowledged = stored

    async def flush(self) -> None:
        """Store what was heard and is not stored yet."""
        async with self._flushing:
            self._dirty.clear()
            self._full.clear()
            entries, self._intake.flushed = tuple(self._updates.take()), self._intake.place
            if entries or self._intake.overdue or (self._intake.kept and self._lines.skipping):
                await self._store(entries)
        self._press()
