"""What an agent said whose holder has died with it, told once more from the journal.

A program of a few lines lists the journal where it lies (`SCRIPT`, run by the python3 of a throw-away sandbox) and
sends its files over one channel; everything is judged on this side. Promises: the receiver gets each byte of stdout,
and each of stderr, once and in order, from the offsets that it asks for; what is damaged or missing is told to the
watcher in its place and is no error; a channel that breaks half way is one, and the next `replay` goes on from there;
memory is bounded, whatever the journal's size.
"""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from sandbox.channel import Receiver
from sandbox.errors import ChannelClosed, ChannelStalled
from sandbox.holder.errors import HolderError, error_from
from sandbox.holder.frames import UNKNOWN, Frame, Phase, State, Type, gap_length
from sandbox.holder.journal import StreamFiles, read_state
from sandbox.holder.link import HUNG_UP, Link, Watcher

STALL_BOUND: Final = 60.0  # seconds
STDOUT, STDERR = 1, 2
NEVER: Final = UNKNOWN
LONGEST_TEXT: Final = 4096

# Parts: a letter, the first offset of the file behind this one, how many bytes follow, and these. The state (s),
# the files of stderr (e) and stdout (o), an end (z) or why there is nothing (x). What cannot be read comes as zeros.
# A state of an earlier start of the machine (b) proves nothing about the input: the disk may have kept an older one. A
# state of an earlier version does not say of which it is; it must have been written since.
SCRIPT: Final = """
import fcntl, os, re, struct, sys
folder, out = sys.argv[1], sys.stdout.buffer
def tell(letter, data=b""):
    out.write(struct.pack(">cQQ", letter, 0, len(data)) + data)
def refuse(text):
    tell(b"x", text.encode())
    out.flush()
    sys.exit()
def send(letter, name, stop):
    try:
        with open(os.path.join(folder, name), "rb") as file:
            left = os.fstat(file.fileno()).st_size
            out.write(struct.pack(">cQQ", letter, stop, left))
            while left:
                try:
                    data = file.read(min(left, 65536))
                except OSError:
                    data = b""
                data = data or bytes(min(left, 65536))
                out.write(data)
                left -= len(data)
    except OSError:
        pass
def of_this_boot(file):
    told = file.read(160)[144:].hex()
    if told:
        with open("/proc/sys/kernel/random/boot_id") as boot:
            return told == boot.read().strip().replace("-", "")
    with open("/proc/stat") as stat:
        booted = [int(line.split()[1]) for line in stat if line.startswith("btime ")]
    return os.fstat(file.fileno()).st_mtime > booted[0]
try:
    names = os.listdir(folder)
except OSError as error:
    refuse("journal_missing: There is no journal at %s (%s)." % (folder, error.strerror))
if not names:
    refuse("journal_missing: The journal %s is empty." % folder)
try:
    state = open(os.path.join(folder, "state"), "rb")
    fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
    proven = of_this_boot(state)
except BlockingIOError:
    refuse("already_running: A holder has the journal %s; attach to it." % folder)
except (OSError, LookupError, ValueError):
    proven = False
send(b"s", "state", 0)
if not proven:
    tell(b"b")
for letter in "eo":
    found = sorted(int(name[2:], 16) for name in names if re.fullmatch(letter + "-[0-9a-f]{16}", name))
    for first, stop in zip(found, found[1:] + [2**64 - 1]):
        send(letter.encode(), "%s-%016x" % (letter, first), stop)
tell(b"z")
out.flush()
"""


class Opener(Protocol):
    """How the script gets its channel: `Sandbox.open_channel` of a sandbox that sees the journal."""

    def __call__(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], receiver: Receiver, user: str
    ) -> Awaitable[Link]: ...


async def replay(
    opener: Opener, directory: str, receiver: Receiver, watcher: Watcher, *, stdout_from: int = 0, stderr_from: int = 0
) -> State:
    """Tell `receiver` what the journal at `directory` holds from the offsets on, and of the end, whichever it is.

    See `DeadChannel.replay`.
    """
    channel = DeadChannel(receiver, watcher, stdout_from=stdout_from, stderr_from=stderr_from)
    try:
        return await channel.replay(opener, directory)
    finally:
        await channel.close()


class DeadChannel:
    """The channel to an agent that has died: it fits where a `HeldChannel` fits, speaks once, and hears nothing.

    Owner: whoever made it; `close` ends it. `received` and `received_stderr` are the offsets behind what was told.
    """

    def __init__(self, receiver: Receiver, watcher: Watcher, *, stdout_from: int = 0, stderr_from: int = 0) -> None:
        self.received, self.received_stderr = stdout_from, stderr_from
        self.state: State | None = None
        self._receiver, self._watcher = receiver, watcher
        self._link: Link | None = None
        self._paused = False
        self._final: str | None = None

    async def replay(self, opener: Opener, directory: str) -> State:
        """Tell the receiver what the agent wrote, stderr before stdout, then that the channel is closed.

        Returns the last state. Its phase is LOST when the holder was killed; then the ends are those of what was
        found. Of a damaged state only these are known. All input counts as accepted then, for it may have been, and so
        it does where the machine was started anew since. Raises HolderError (`journal_missing`; `already_running`:
        attach to it), ChannelStalled, ChannelClosed, what the opener raises: the receiver is not told of an end then,
        and another call goes on where this one stopped.
        """
        if self._final is not None:
            raise ChannelClosed(f"The channel has ended ({self._final}); there is nothing to replay.")
        ear = _Ear(self)
        argv = ("python3", "-I", "-S", "-c", SCRIPT, directory)
        self._link = link = await opener(argv, cwd="/", env={}, receiver=ear, user="0:0")
        if self._paused:
            link.pause()
        try:
            await self._heard(ear)
        finally:
            self._link = None
            await link.close()
        self.state = ear.state()
        self._end(self.state.describe())
        return self.state

    async def _heard(self, ear: "_Ear") -> None:
        while not ear.over.is_set():
            before = ear.count
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STALL_BOUND):
                    await ear.over.wait()
            if not ear.over.is_set() and not self._paused and ear.count == before:
                raise ChannelStalled(f"Nothing of the journal came for {STALL_BOUND:g} s; try again.")
        if ear.failure is not None:
            raise ear.failure
        if not ear.whole:
            raise ChannelClosed(f"The journal was read in part only ({ear.reason}); try again.")

    async def send(self, data: bytes) -> None:  # noqa: ARG002 - as every channel
        raise ChannelClosed(f"Nothing can be sent to the agent: {self._final or 'it has died'}.")

    async def acknowledge(self, stdout: int, stderr: int | None = None) -> None:
        """Do nothing: the journal goes as a whole."""

    def pause(self) -> None:
        """Stop telling; a piece that has arrived may still come."""
        self._paused = True
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        self._paused = False
        if self._link is not None:
            self._link.resume()

    async def close(self) -> None:
        """End the channel, also a replay under way. Idempotent, bounded, never raises."""
        if self._link is not None:
            await self._link.close()
        self._end(HUNG_UP)

    def tell(self, frame: Frame) -> None:
        """Hand a frame of the journal on."""
        out = frame.detail == STDOUT
        after = frame.offset + (gap_length(frame.payload) if frame.type == Type.GAP else len(frame.payload))
        if out:
            self.received = after
        else:
            self.received_stderr = after
        if frame.type == Type.GAP:
            self._watcher.on_gap(frame.detail, frame.offset, after - frame.offset)
        elif out:
            self._receiver.on_stdout(frame.payload)
        else:
            self._receiver.on_stderr(frame.payload)

    def _end(self, reason: str) -> None:
        if self._final is None:
            self._final = reason
            self._receiver.on_closed(reason)


class _Ear:
    """The receiver of the script: cuts what it says into parts, and these into frames."""

    _HEAD = struct.Struct(">cQQ")

    def __init__(self, channel: DeadChannel) -> None:
        self.over = asyncio.Event()
        self.whole = False
        self.failure: HolderError | None = None
        self.reason = ""
        self.count = 0
        self._channel = channel
        self._known: State | None = None
        self._proven = True
        self._streams = self._begun(None)
        self._held, self._words = b"", b""
        self._letter, self._left = b"", 0
        self._text = bytearray()

    def state(self) -> State:
        """Return the state, with the ends of the streams as they were found."""
        ends = {letter: files.at for letter, files in self._streams.items()}
        known = self._known or _unknown()
        if not self._proven:
            known = replace(known, accepted=UNKNOWN, drained=UNKNOWN)
        stdout, stderr = max(known.stdout_end, ends[b"o"]), max(known.stderr_end, ends[b"e"])
        return replace(known, stdout_end=stdout, stderr_end=stderr)

    def on_stdout(self, data: bytes) -> None:
        self.count += len(data)
        self._held = data = self._held + data
        at = 0
        while not self.whole and self.failure is None:
            if self._left == 0 and not self._letter:
                if len(data) - at < self._HEAD.size:
                    break
                letter, stop, self._left = self._HEAD.unpack_from(data, at)
                at += self._HEAD.size
                self._begin(letter, None if stop == NEVER else stop)
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            self._part(piece)
            if self._left:
                break
            self._ended()
        self._held = data[at:]

    def on_stderr(self, data: bytes) -> None:
        self._words = (self._words + data)[-500:]

    def on_closed(self, reason: str) -> None:
        words = self._words.decode(errors="replace").strip().rpartition("\n")[2]
        self.reason = f"{reason}: {words}" if words else reason
        self.over.set()

    def _begun(self, state: State | None) -> dict[bytes, StreamFiles]:
        channel = self._channel
        ends = (None, None) if state is None else (state.stdout_end, state.stderr_end)
        return {
            b"o": StreamFiles(STDOUT, channel.received, ends[0]),
            b"e": StreamFiles(STDERR, channel.received_stderr, ends[1]),
        }

    def _begin(self, letter: bytes, stop: int | None) -> None:
        self._letter = letter
        self._text.clear()
        if letter in self._streams:
            self._streams[letter].begin(stop)

    def _part(self, piece: bytes) -> None:
        if self._letter in self._streams:
            for frame in self._streams[self._letter].feed(piece):
                self._channel.tell(frame)
        else:
            self._text += piece[: LONGEST_TEXT - len(self._text)]

    def _ended(self) -> None:
        letter, self._letter = self._letter, b""
        if letter == b"s":
            with contextlib.suppress(HolderError):  # told by what is unknown then
                self._known = read_state(bytes(self._text))
            self._streams = self._begun(self._known)
        elif letter == b"b":
            self._proven = False
        elif letter == b"x":
            self.failure = error_from(self._text.decode(errors="replace"), 0)
        elif letter == b"z":
            for files in self._streams.values():
                for frame in files.finish():
                    self._channel.tell(frame)
            self.whole = True


def _unknown() -> State:
    """Return the state of a journal whose own is damaged."""
    return State(
        version=1,
        phase=Phase.LOST,
        pid=0,
        epoch=0,
        accepted=UNKNOWN,
        drained=UNKNOWN,
        stdout_first=0,
        stdout_end=0,
        stderr_first=0,
        stderr_end=0,
        stderr_dropped=0,
        exit_code=None,
        signal=None,
        cause=None,
        left=0,
        oom_kills=None,
        pids_denied=None,
    )
