"""A channel to an agent that a holder keeps: it can be lost and attached again, and nothing is lost or said twice.

Fits where an `ExecChannel` fits. Promises: what the agent wrote to stdout arrives once, complete and in order, over as
many links as it takes, and `received` is the offset behind it; `send` returns when the holder has the line in its
journal, and a line that was under way when a link broke is sent again only if the holder does not have it; `on_closed`
is called once and last, when the agent has ended or closed its output, this client was fenced off, or `close` was
called. A link that breaks is not an end: the watcher hears `on_lost`, and `attach` goes on.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from sandbox.channel import Receiver
from sandbox.errors import ChannelClosed, ChannelStalled, SandboxError
from sandbox.holder import frames
from sandbox.holder.ear import Ear
from sandbox.holder.errors import (
    FramesCorrupt,
    HolderError,
    HolderGone,
    InputRefused,
    OffsetRefused,
    Replaced,
    error_from,
)
from sandbox.holder.frames import Frame, Phase, State, Told, Type
from sandbox.holder.link import HUNG_UP, Link, Opener, Watcher
from sandbox.holder.pulse import Pulse

ATTACH_BOUND: Final = 10.0  # seconds, as all below
ANSWER_BOUND: Final = 10.0
LAST_WORDS: Final = 1.0
NEWLINE: Final = b"\n"
UNASKED: Final = 2**63  # the number of a PING whose answer nobody waits for
STDOUT, STDERR = 1, 2


@dataclass(slots=True)
class _Line:
    offset: int
    data: bytes
    done: asyncio.Future[None]


class HeldChannel:
    """See the module. Owner: whoever made it; `close` ends it. `failure` says by what it was fenced off, if it was."""

    def __init__(
        self,
        receiver: Receiver,
        watcher: Watcher,
        *,
        token: str,
        epoch: int,
        stdout_from: int = 0,
        stderr_from: int = 0,
    ) -> None:
        self.received, self.received_stderr = stdout_from, stderr_from
        self.input_end: int | None = None
        self.state: State | None = None
        self.failure: HolderError | None = None
        self._receiver, self._watcher = receiver, watcher
        self._token, self._epoch = token, epoch
        self._link: Link | None = None
        self._ear: Ear | None = None
        self._attaching, self._sending = asyncio.Lock(), asyncio.Lock()
        self._line: _Line | None = None
        self._answers: dict[int, asyncio.Future[State]] = {}
        self._questions = 0
        self._over = asyncio.Event()
        self._told = False
        self._final: str | None = None
        self._paused = False
        self._closing: set[asyncio.Task[None]] = set()
        self._pulse = Pulse(lambda: self._write(frames.encode(Type.PING, 0, UNASKED)), self._drop)

    # ---- links

    @property
    def attached(self) -> bool:
        return self._link is not None

    @property
    def mute(self) -> bool:
        """Whether the receiver was told of an end though the agent has none: it closed its output and lives."""
        return self._told and self._final is None

    async def attach(self, opener: Opener) -> State:
        """Go on over a new link, from where the last one broke; the link before is closed.

        Returns what the holder tells of itself. The receiver may be called before this returns. Raises EpochRefused,
        TokenRefused, VersionRefused, OffsetRefused; HolderGone and ChannelClosed (try again, or look for the journal);
        what the opener raises.
        """
        async with self._attaching:
            if self._final is not None:
                raise ChannelClosed(f"The channel has ended ({self._final}); there is nothing to attach.")
            await self._detach()
            ear = Ear(self._hear, self._link_ended)
            link = await opener(ear)
            try:
                state = await self._greet(link, ear)
                if ear.ended is not None:
                    raise ear.failure or HolderGone("link_ended", f"The link broke at once ({ear.ended}).")  # noqa: TRY301
            except BaseException:
                self._ear = None
                await link.close()
                raise
            self._link = link
            self._pulse.start()
            if self._paused:
                link.pause()
            await self._reconcile(state)
            return state

    async def _greet(self, link: Link, ear: Ear) -> State:
        self._ear = ear
        welcome: asyncio.Future[State] = asyncio.get_running_loop().create_future()
        self._answers[0] = welcome
        try:
            async with asyncio.timeout(ATTACH_BOUND):
                with contextlib.suppress(SandboxError, OSError):  # a link that has ended tells why itself
                    await link.send(frames.hello(self._token, self._epoch, self.received, self.received_stderr))
                return await welcome
        except TimeoutError as error:
            raise HolderGone("holder_gone", f"The holder did not answer within {ATTACH_BOUND:g} s.") from error
        finally:
            self._answers.pop(0, None)
            welcome.cancel()

    async def _reconcile(self, state: State) -> None:
        """Send the line that was under way again, unless the holder has it."""
        line = self._line
        if line is None or line.done.done():
            self.input_end = state.accepted
        elif state.accepted >= line.offset + len(line.data):
            self.input_end = state.accepted
            line.done.set_result(None)
        elif state.accepted == line.offset:
            await self._write(frames.encode(Type.INPUT, 0, line.offset, line.data))
        else:
            sentence = f"The holder has {state.accepted} bytes of input, but a line was to follow at {line.offset}."
            line.done.set_exception(InputRefused("input_gap", sentence, line.offset))

    async def _detach(self) -> None:
        self._pulse.stop()
        link, self._link, self._ear = self._link, None, None
        if link is not None:
            await link.close()

    # ---- verbs

    async def send(self, data: bytes) -> None:
        """Give the agent whole lines, all of them or none; concurrent calls do not mix.

        Returns when they are in the holder's journal. While no link is there it waits for `attach` or `close`, so the
        owner bounds it. Raises ChannelStalled when the agent does not read and nothing was taken, InputRefused with
        the holder's reason, ChannelClosed when the channel has ended (whether the lines were taken is then unknown).
        A cancelled call may have been taken: `input_end` tells after the next one.
        """
        if not data.endswith(NEWLINE) or len(data) > frames.LONGEST_INPUT:
            sentence = f"Input is whole lines of at most {frames.LONGEST_INPUT} bytes; this one has {len(data)}."
            raise InputRefused("not_a_line", sentence)
        async with self._sending:
            if self._line is not None:  # a call before this one was cancelled under way
                with contextlib.suppress(SandboxError):
                    await self._answer(self._line)
            if self._final is not None or self.input_end is None:
                raise ChannelClosed(f"Nothing can be sent to the agent: {self._final or 'it was never attached'}.")
            line = self._line = _Line(self.input_end, data, asyncio.get_running_loop().create_future())
            line.done.add_done_callback(lambda done: done.cancelled() or done.exception())
            await self._write(frames.encode(Type.INPUT, 0, line.offset, data))
            await self._answer(line)

    async def _answer(self, line: _Line) -> None:
        """Wait for what becomes of a line. A link over which nothing is answered is given up."""
        while not line.done.done():
            link = self._link
            await asyncio.wait([line.done], timeout=ANSWER_BOUND)
            if not line.done.done() and link is not None and link is self._link:
                await self._drop(f"the holder has not answered for {ANSWER_BOUND:g} s")
        if self._line is line:
            self._line = None
        line.done.result()

    async def acknowledge(self, stdout: int, stderr: int | None = None) -> None:
        """Let the holder delete what is before these offsets: it will not be asked for again. Never raises."""
        data = frames.encode(Type.ACK, STDOUT, stdout)
        if stderr is not None:
            data += frames.encode(Type.ACK, STDERR, stderr)
        await self._write(data)

    def skip(self, offset: int) -> None:
        """Ask from this offset of stdout on at the next `attach`; what lies before it is told as a gap."""
        if offset > self.received:
            self._gap(STDOUT, self.received, offset - self.received)

    async def ask(self) -> State:
        """Ask the holder how it is. Raises HolderGone when it does not answer within the bound."""
        self._questions += 1
        number = self._questions
        answer: asyncio.Future[State] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(ANSWER_BOUND):
                await self._write(frames.encode(Type.PING, 0, number))
                return await answer
        except TimeoutError as error:
            raise HolderGone("holder_gone", f"The holder did not answer within {ANSWER_BOUND:g} s.") from error
        finally:
            self._answers.pop(number, None)

    async def close_input(self) -> None:
        """Let the agent read the end of its input, behind all that was sent."""
        await self._write(frames.encode(Type.CLOSE))

    async def kill(self, grace: float) -> None:
        """End the agent and all it started: SIGTERM, and after `grace` seconds SIGKILL. See `wait_over`."""
        await self._write(frames.kill(grace))

    async def wait_over(self) -> State:
        """Wait until the agent has ended and all it wrote was received. The caller sets the bound."""
        await self._over.wait()
        if self.state is None or self.state.phase is not Phase.ENDED:
            raise self.failure or ChannelClosed(f"The end of the agent is unknown: {self._final}.")
        return self.state

    async def dismiss(self) -> None:
        """Let the holder of an agent that has ended go: all that it had to tell is stored. Then close."""
        ear = self._ear
        await self._write(frames.encode(Type.BYE))
        if ear is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_BOUND):
                    await ear.over.wait()  # it hangs up; before that, `close` could overtake the word
        await self.close()

    def pause(self) -> None:
        """Stop reading; a piece that has arrived may still come. The agent waits when the journal is full."""
        self._paused = True
        self._pulse.deafen(deaf=True)
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        self._paused = False
        self._pulse.deafen(deaf=False)
        if self._link is not None:
            self._link.resume()

    async def give_way(self) -> bool:
        """End the channel without a word to its receiver, for one that goes on. False when it was told the end."""
        told, self._told = self._told, True
        await self.close()
        return not told

    async def close(self) -> None:
        """End the channel; agent and holder go on. Idempotent, bounded, never raises."""
        await self._detach()
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._end(HUNG_UP)

    # ---- what comes

    def _hear(self, ear: Ear, frame: Frame) -> None:
        if self._ear is not ear:  # the next link was attached meanwhile
            return
        self._pulse.heard()
        kind, detail, offset, payload = frame
        if kind == Type.OUTPUT:
            self._output(detail, offset, payload)
        elif kind == Type.ACCEPTED:
            self._accepted(offset)
        elif kind == Type.STATE:
            self._state(detail, offset, payload)
        elif kind == Type.GAP:
            self._gap(detail, offset, frames.gap_length(payload))
        elif kind == Type.REFUSED:
            self._refused(offset, payload.decode(errors="replace"))
        elif kind == Type.ERROR:
            raise error_from(payload.decode(errors="replace"), offset)
        # Later versions may tell more.

    def _output(self, stream: int, offset: int, payload: bytes) -> None:
        if stream == STDOUT and offset == self.received:
            self.received += len(payload)
            self._receiver.on_stdout(payload)
        elif stream == STDERR and offset == self.received_stderr:
            self.received_stderr += len(payload)
            self._receiver.on_stderr(payload)
        else:
            place = self.received if stream == STDOUT else self.received_stderr
            sentence = f"The holder sent stream {stream} at {offset}, which is at {place}."
            raise FramesCorrupt("frames_corrupt", sentence)

    def _gap(self, stream: int, offset: int, length: int) -> None:
        if stream == STDOUT:
            self.received = offset + length
        else:
            self.received_stderr = offset + length
        self._watcher.on_gap(stream, offset, length)

    def _accepted(self, offset: int) -> None:
        line = self._line
        if line is not None and not line.done.done() and offset >= line.offset + len(line.data):
            self.input_end = offset
            line.done.set_result(None)

    def _refused(self, offset: int, text: str) -> None:
        line = self._line
        if line is None or line.done.done() or line.offset != offset:
            return
        kind, _, sentence = text.partition(": ")
        if kind == "input_full":
            line.done.set_exception(ChannelStalled(f"{sentence} Nothing was sent; try again or stop it."))
        else:
            line.done.set_exception(InputRefused(kind, sentence, offset))

    def _state(self, told: int, number: int, payload: bytes) -> None:
        self.state = State.parse(payload)
        if told == Told.ANSWER:
            answer = self._answers.get(number)
            if answer is not None and not answer.done():
                answer.set_result(self.state)
        elif told == Told.OVER:
            self._end(self.state.describe())
        elif told == Told.CLOSED:  # its last words on stderr, or its end, may be on their way
            loop = asyncio.get_running_loop()
            loop.call_later(LAST_WORDS, self._tell, "the agent closed its output")

    # ---- ends

    def _link_ended(self, ear: Ear, reason: str) -> None:
        if self._ear is not ear:
            return
        failure = ear.failure
        final = isinstance(failure, Replaced | OffsetRefused)
        welcome = self._answers.get(0)
        if welcome is not None and not welcome.done():
            welcome.set_exception(
                failure or HolderGone("link_ended", f"The link ended before the holder spoke ({reason}).")
            )
        link, self._link, self._ear = self._link, None, None
        if link is None:
            return
        self._pulse.stop()
        closing = asyncio.get_running_loop().create_task(link.close())  # it may be that only its frames were wrong
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        if final:
            self.failure = failure
            self._end(str(failure))
        elif self._final is None:
            self._watcher.on_lost(str(failure) if failure is not None else reason)

    async def _drop(self, reason: str) -> None:
        """Give up a link that is of no use; the channel is lost, not ended."""
        if self._link is not None:
            await self._detach()
            self._watcher.on_lost(reason)

    def _end(self, reason: str) -> None:
        if self._final is None:
            self._final = reason
            self._over.set()
            if self._line is not None and not self._line.done.done():
                sentence = f"Whether the agent was given the line is unknown: {reason}."
                self._line.done.set_exception(ChannelClosed(sentence))
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._receiver.on_closed(reason)

    async def _write(self, data: bytes) -> None:
        """Send a frame over the link, if there is one; a link that fails tells so itself."""
        if self._link is not None:
            with contextlib.suppress(SandboxError, OSError):
                await self._link.send(data)
