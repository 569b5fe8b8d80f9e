"""One ACP session over one channel: the client's side of the protocol towards an agent that is not trusted.

Promises: updates reach the observer in wire order and coalesced; one prompt at a time; a request of the agent that we
do not serve is refused with -32601 at once; whatever the agent writes, nothing here raises and memory stays bounded
(a line over 16 MiB is skipped, a flood pauses the channel). Waits for an answer of the agent have no bound of their
own: the deadlines are the core's, which cancels the caller.
"""

import asyncio
import codecs
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.core.model import Opening, Option, Steering, Step
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.core.transcript import Entry
from acp_runtime.session.channel import Channel
from acp_runtime.session.content import label
from acp_runtime.session.errors import AgentError, SessionClosedError, SessionError
from acp_runtime.session.opening import Opener
from acp_runtime.session.outgoing import Outgoing
from acp_runtime.session.transcript import Coalescer
from acp_runtime.wire import acp
from acp_runtime.wire.acp import AgentMethod, ClientMethod, ErrorCode
from acp_runtime.wire.jsonrpc import Message, Noise, Notification, Peer, Request, Response, RpcError, Skipped
from acp_runtime.wire.jsontext import compact
from acp_runtime.wire.ndjson import LineSplitter

FLUSH_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 0.1
SETTLE_SECONDS: Final = 2.0
STDERR_BYTES: Final = 65_536
STDERR_TOLD: Final = 2_000
NOISE_LINES: Final = 20
EARLY_UPDATES: Final = 256
EARLY_CHARS: Final = 65_536  # of one update: what comes before the session exists is small talk
OPEN_REQUESTS: Final = 32
KNOWN_TITLES: Final = 256
PENDING_BYTES: Final = 1_048_576

_STEERED: Final = {
    "injected": Steering.INJECTED,
    "startedNewTurn": Steering.INJECTED,
    "promptRequired": Steering.QUEUED,
    "failed": Steering.QUEUED,
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is ready for prompts. `steering`: the agent takes messages while it works."""

    session_id: str
    agent_name: str
    agent_version: str
    opening: Opening
    steering: bool


@dataclass(frozen=True, slots=True)
class Observer:
    """Whom a session tells. `heard` is awaited (it stores the entries); the other two must return at once."""

    heard: Callable[[tuple[Entry, ...]], Awaitable[None]]
    asked: Callable[[str, str, tuple[Option, ...]], None]
    closed: Callable[[str], None]


class AcpSession:
    """The receiver of a channel, and the verbs of ACP over it: `attach`, `open`, prompts, and `shut` at the end."""

    def __init__(self, epoch: int, observer: Observer) -> None:
        self._observer = observer
        self._peer = Peer(epoch)
        self._lines = LineSplitter()
        self._updates = Coalescer()
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._asked: dict[str, int | str] = {}
        self._titles: dict[str, str] = {}
        self._early: deque[tuple[str, dict[str, Any]]] = deque(maxlen=EARLY_UPDATES)
        self._stderr = bytearray()
        self._stderr_count = 0
        self._noise: deque[str] = deque(maxlen=NOISE_LINES)
        self._channel: Channel | None = None
        self._outgoing: Outgoing | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self._dirty, self._full = asyncio.Event(), asyncio.Event()
        self._prompting = False
        self._replaying = False
        self._paused = False
        self._heard_count = 0
        self._asked_count = 0
        self._newest = ""
        self.session_id: str | None = None
        self.closed: str | None = None
        self.skipped_lines = 0
        self.foreign_updates = 0

    # ---- receiver: what the agent writes

    def on_stdout(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            for message in self._peer.receive(line):
                self._take(message)
        self._press()

    def on_stderr(self, data: bytes) -> None:
        self._stderr += data
        self._stderr_count += len(data)
        if len(self._stderr) > STDERR_BYTES:
            del self._stderr[: len(self._stderr) - STDERR_BYTES]

    def on_closed(self, reason: str) -> None:
        rest = self._lines.finish()
        for message in self._peer.receive(rest) if rest is not None else ():
            self._take(message)
        self.closed = reason
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SessionClosedError(reason))
        self._waiting.clear()
        self._observer.closed(reason)

    def _take(self, message: Message) -> None:
        match message:
            case Response(id=ident):
                future = self._waiting.pop(ident, None)
                if future is not None and not future.done():
                    future.set_result(message)
            case Notification(method=ClientMethod.SESSION_UPDATE, params=params):
                self._update(params)
            case Request(method=ClientMethod.SESSION_REQUEST_PERMISSION):
                self._permission(message)
            case Request():
                self._refuse(message.id, message.method)
            case Noise(text=text):
                self._noise.append(one_line(text, 200))
            case Skipped(request=request):
                self.skipped_lines += 1
                if request is not None:
                    self._post(self._peer.refuse(request, ErrorCode.INVALID_REQUEST, "the message is over 16 MiB"))
            case Notification():
                pass

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
            self._updates.add(update)
            self._note_title(update)
            self._dirty.set()
        else:
            self.foreign_updates += 1

    def _note_title(self, update: dict[str, Any]) -> None:
        """Remember what a tool call is called: a request for permission may name the call by its id alone."""
        ident, title = label(update.get("toolCallId"), acp.MAX_ID), label(update.get("title"))
        if ident and title:
            self._titles[ident] = title
            if len(self._titles) > KNOWN_TITLES:
                del self._titles[next(iter(self._titles))]

    def _permission(self, request: Request) -> None:
        ask = acp.read_permission_request(request.params)
        # The agent may use an id again once it was answered; ours names one question for ever.
        self._asked_count += 1
        key = str(self._asked_count)
        known = ask.session_id == self.session_id and self._prompting
        if not known or request.id in self._asked.values() or len(self._asked) >= OPEN_REQUESTS:
            self._post(self._peer.respond(request.id, acp.permission_outcome(None)))
            return
        self._asked[key] = request.id
        options = tuple(Option(each.id, one_line(each.name, 200), each.kind) for each in ask.options)
        title = ask.title or self._titles.get(ask.tool_call_id, "something that it does not name")
        self._observer.asked(key, one_line(title, 200), options)

    def _refuse(self, ident: int | str, method: str) -> None:
        text = f"this client does not serve {one_line(method, 100)}"
        self._post(self._peer.refuse(ident, ErrorCode.METHOD_NOT_FOUND, text))

    def _post(self, line: bytes) -> None:
        if self._outgoing is not None and self.closed is None:
            self._outgoing.put(line)

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

    def attach(self, channel: Channel) -> None:
        """Take the channel whose receiver this session is. Starts the tasks that `shut` ends."""
        self._channel = channel
        self._outgoing = Outgoing(channel, relieved=self._press)
        self._flusher = asyncio.create_task(self._flush_for_ever(), name="session-flusher")

    async def open(
        self,
        *,
        cwd: str,
        auth_method: str | None,
        version: str,
        step: Callable[[Step], None],
        title: str = "subagent",
        resume: str | None = None,
        failure_records: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> Opened:
        """Initialize, authenticate where the agent kind wants it, and make a session, or go on in the one of before.

        `resume` names an earlier session; where the agent cannot go on in it, a new one is made and the opening says
        so. `step` is told before each, a new session is named `title`, `failure_records` asks the agent to tell of
        turns that failed, and `meta` is what it takes with its session beyond the protocol. Raises `AgentError` (a
        sentence) when the agent answers wrongly, `LoginNeededError` when it wants a login, `SessionClosedError` when it
        went away.
        """
        step(Step.INITIALIZE)
        params = acp.initialize("acp-subagents", version, failure_records=failure_records)
        hello = acp.read_initialize(await self._call(AgentMethod.INITIALIZE, params))
        if hello.protocol_version != acp.PROTOCOL_VERSION:
            named = f"version {hello.protocol_version}" if hello.protocol_version else "no version"
            raise AgentError(f"the agent speaks {named} of ACP; this manager speaks version {acp.PROTOCOL_VERSION}")
        if auth_method is not None:
            step(Step.AUTHENTICATE)
            await self._authenticate(auth_method, hello)
        step(Step.SESSION)
        opener = Opener(self._call, self._without_replay, hello, cwd, title=title, meta=meta or {})
        self.session_id, opening = await opener.open(resume)
        for session_id, update in self._early:
            self._update({"sessionId": session_id, "update": update})
        self._early.clear()
        await self._flush()
        name, version = one_line(hello.name, 60), one_line(hello.version, 60)
        return Opened(self.session_id, name, version, opening, hello.steering)

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

    async def _authenticate(self, method: str, hello: acp.AgentHello) -> None:
        offered = [each.id for each in hello.auth_methods]
        if method not in offered:
            names = ", ".join(offered) or "none"
            raise AgentError(f"the agent does not offer the login {method!r} of its catalogue entry; it offers {names}")
        await self._call(AgentMethod.AUTHENTICATE, acp.authenticate(method))

    async def prompt(self, text: str, meta: Mapping[str, Any] | None = None) -> str:
        """Deliver one prompt and return its stop reason, after the last update of its turn was stored.

        Raises `AgentError` when the agent answers with an error or says that its turn failed, `SessionClosedError`
        when it goes away.
        """
        if self._prompting or self.session_id is None:
            raise AgentError("a prompt is with the agent already" if self._prompting else "there is no session")
        self._prompting = True
        try:
            result = await self._call(AgentMethod.SESSION_PROMPT, acp.session_prompt(self.session_id, text, meta))
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
            result = await self._call(AgentMethod.SESSION_STEERING, acp.session_steering(self.session_id, text))
        except AgentError:
            return Steering.QUEUED
        return _STEERED.get(acp.read_steering(result), Steering.UNKNOWN)

    def answer(self, request_id: str, option_id: str) -> None:
        """Answer a permission request once; an empty option id is the outcome `cancelled`."""
        ident = self._asked.pop(request_id, None)
        if ident is not None:
            self._post(self._peer.respond(ident, acp.permission_outcome(option_id or None)))

    def diagnosis(self) -> str:
        """Return what the agent wrote outside the protocol, newest last: its stderr, else noise on stdout."""
        text = printable(self._stderr.decode("utf-8", "replace")).strip()
        return (text or "\n".join(self._noise))[-STDERR_TOLD:]

    def stderr(self, since: int) -> tuple[str, int]:
        """Return what the agent wrote there after its first `since` bytes, as far as it is held, and the count then."""
        held = bytes(self._stderr[max(0, since - (self._stderr_count - len(self._stderr))) :])
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(held)
        return text, self._stderr_count - len(decoder.getstate()[0])  # a character in two pieces is told whole

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
        await self._flush()

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        if self.closed is not None:
            raise SessionClosedError(self.closed)
        ident, line = self._peer.request(method, params)
        future = self._waiting[ident] = asyncio.get_running_loop().create_future()
        self._post(line)
        try:
            response: Response = await future
        finally:
            self._waiting.pop(ident, None)
            self._peer.forget(ident)
        if response.error is not None:
            raise _agent_error(method, response.error)
        return response.result

    async def _settle(self) -> None:
        """Wait for updates that come after the answer: none when usage closed the turn, else until it is quiet."""
        for request_id in tuple(self._asked):
            self.answer(request_id, "")
        if self.closed is None and self._newest != acp.UpdateKind.USAGE_UPDATE:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._quiet()
        await self._flush()

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
            await self._flush()

    async def _flush(self) -> None:
        async with self._flushing:
            self._dirty.clear()
            self._full.clear()
            entries = tuple(self._updates.take())
            if entries:
                await self._observer.heard(entries)
        self._press()


def _agent_error(method: str, error: RpcError) -> AgentError:
    detail = one_line(error.message, 500)
    code = f" (code {error.code})" if error.code is not None else ""
    return AgentError(f"the agent answered {method} with an error{code}: {detail}", error.code)
