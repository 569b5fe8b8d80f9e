"""Frames between a holder and its clients, and what stands in them. Sans-io; docs/framing.md is the contract.

`Splitter.feed` promises whole, checked frames in their order, whatever the pieces they arrive in; it keeps back less
than one frame. After what cannot be a holder's frame nothing more comes out, and `corrupt` says why.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, Self

from sandbox.errors import SettingRefused
from sandbox.holder.errors import FramesCorrupt
from sandbox.spec import AGENT_UID, OPEN_FILES

VERSION: Final = 1
LONGEST_OUTPUT: Final = 65_536
LONGEST_INPUT: Final = 16 * 1024 * 1024
LONGEST_SETTINGS: Final = 1024 * 1024
UNKNOWN: Final = 2**64 - 1

_HEAD = struct.Struct(">BBHLQ")
_CHECK = struct.Struct(">L")
HEADER: Final = _HEAD.size + _CHECK.size
_HELLO = struct.Struct(">4sHHQQQ")
_STATE = struct.Struct(">17Q")
_GAP = struct.Struct(">Q")
_GRACE = struct.Struct(">L")
_EXITED, _SIGNALLED = 1, 2
_SIGKILL = 9


class Type(IntEnum):
    """The first byte of a frame: those of a client, then those of a holder."""

    HELLO = ord("H")
    INPUT = ord("I")
    ACK = ord("A")
    KILL = ord("K")
    CLOSE = ord("C")
    PING = ord("P")
    BYE = ord("B")
    SETTINGS = ord("S")
    STATE = ord("W")
    OUTPUT = ord("O")
    GAP = ord("G")
    ACCEPTED = ord("Y")
    REFUSED = ord("N")
    ERROR = ord("X")


class Told(IntEnum):
    """Why a STATE is sent: to a hello or a ping; stdout is at its end; nothing follows."""

    ANSWER = 0
    CLOSED = 1
    OVER = 2


class Phase(IntEnum):
    """How it is with the agent. LOST is found in a journal only: its holder was killed before the agent's end."""

    RUNNING = 1
    ENDING = 2
    ENDED = 3
    LOST = 4


class Cause(IntEnum):
    """Why the agent ended."""

    ITSELF = 1
    CLIENT = 2
    TTL = 3
    SIGNAL = 4


class Frame(NamedTuple):
    """One frame. `detail` is a stream (OUTPUT, GAP, ACK), a `Told` (STATE), else 0."""

    type: int
    detail: int
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class State:
    """What a holder tells of itself and its agent. Offsets count bytes from the agent's start.

    `pid` is the agent's, in its container. `accepted` input is in the journal, `drained` input was read by the agent's
    pipe. Output before `stdout_first` was acknowledged. `exit_code` or `signal` is set when the agent has ended, and
    `left` counts processes that even SIGKILL did not end. The counters are the container's since the holder's start,
    None where the kernel does not tell: killed for want of memory, forks refused.
    """

    version: int
    phase: Phase
    pid: int
    epoch: int
    accepted: int
    drained: int
    stdout_first: int
    stdout_end: int
    stderr_first: int
    stderr_end: int
    stderr_dropped: int
    exit_code: int | None
    signal: int | None
    cause: Cause | None
    left: int
    oom_kills: int | None
    pids_denied: int | None

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a STATE's payload; later versions may add fields. Raises FramesCorrupt."""
        try:
            numbers = _STATE.unpack_from(payload)
            how, code, cause = numbers[11:14]
            return cls(
                version=numbers[0],
                phase=Phase(numbers[1]),
                pid=numbers[2],
                epoch=numbers[3],
                accepted=numbers[4],
                drained=numbers[5],
                stdout_first=numbers[6],
                stdout_end=numbers[7],
                stderr_first=numbers[8],
                stderr_end=numbers[9],
                stderr_dropped=numbers[10],
                exit_code=code if how == _EXITED else None,
                signal=code if how == _SIGNALLED else None,
                cause=Cause(cause) if cause else None,
                left=numbers[14],
                oom_kills=_known(numbers[15]),
                pids_denied=_known(numbers[16]),
            )
        except (struct.error, ValueError) as error:
            raise FramesCorrupt("frames_corrupt", f"The state of the holder cannot be read: {error}.") from error

    def describe(self) -> str:
        """Say in a few words, without a full stop, how the agent ended, and whether memory may be the reason."""
        why = " (the kernel killed for want of memory)" if self.oom_kills and self.signal == _SIGKILL else ""
        return f"{self.how}{why}"

    @property
    def how(self) -> str:
        """How the agent ended, in a few words without a full stop."""
        if self.phase is Phase.LOST:
            return "the agent's holder was killed"
        if self.phase is not Phase.ENDED:
            return "the agent runs"
        by = {Cause.CLIENT: " as asked", Cause.TTL: ": no manager came", Cause.SIGNAL: ": its holder was stopped"}
        how = f"was killed by signal {self.signal}" if self.signal is not None else f"exited with code {self.exit_code}"
        return f"the agent {how}{by.get(self.cause, '') if self.cause else ''}"


def _known(counter: int) -> int | None:
    return None if counter == UNKNOWN else counter


@dataclass(frozen=True, slots=True)
class Settings:
    """What a holder is started with. Paths are those inside the container; bounds in bytes, times in seconds.

    `shared` is another socket of it, in a folder that is the manager's as well. `init` is the pid of the container's,
    which the holder ends when nobody came for it; None where it has no container of its own. `stdout_bound` must exceed
    what a client holds back before it acknowledges: one line of 16 MiB.
    """

    journal: str
    socket: str
    token: str = field(repr=False)
    epoch: int
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: str
    shared: str | None = None
    init: int | None = None
    uid: int = AGENT_UID
    gid: int = AGENT_UID
    ttl: int = 600
    grace: float = 2.0
    stdout_bound: int = 64 * 1024 * 1024
    stderr_bound: int = 4 * 1024 * 1024
    open_files: int = OPEN_FILES

    def frame(self) -> bytes:
        """Return the frame that a starting holder reads. Raises SettingRefused for what cannot be said in it."""
        pairs = [
            *(("journal", self.journal), ("socket", self.socket), ("token", self.token), ("cwd", self.cwd)),
            *(("epoch", str(self.epoch)), ("uid", str(self.uid)), ("gid", str(self.gid)), ("ttl", str(self.ttl))),
            *(("grace_ms", str(round(self.grace * 1000))), ("open_files", str(self.open_files))),
            *(("out_bound", str(self.stdout_bound)), ("err_bound", str(self.stderr_bound))),
            *((("shared", self.shared),) if self.shared is not None else ()),
            *((("init", str(self.init)),) if self.init is not None else ()),
            *(("arg", word) for word in self.argv),
            *(("env", f"{name}={value}") for name, value in self.env.items()),
        ]
        for key, value in pairs:
            if "\0" in value:
                raise SettingRefused(f"The setting {key!r} of a holder holds a NUL; no program could be given that.")
        payload = b"".join(f"{key}={value}\0".encode(errors="surrogateescape") for key, value in pairs)
        if len(payload) > LONGEST_SETTINGS:
            sentence = f"Arguments and environment have {len(payload)} bytes; {LONGEST_SETTINGS} are the most."
            raise SettingRefused(sentence)
        return encode(Type.SETTINGS, payload=payload)


def encode(kind: int, detail: int = 0, offset: int = 0, payload: bytes = b"") -> bytes:
    """Return one frame as bytes."""
    head = _HEAD.pack(kind, detail, 0, len(payload), offset)
    return b"".join((head, _CHECK.pack(zlib.crc32(payload, zlib.crc32(head))), payload))


def hello(token: str, epoch: int, stdout_from: int, stderr_from: int) -> bytes:
    """Return the frame with which a client begins."""
    fixed = _HELLO.pack(b"ACPH", VERSION, VERSION, epoch, stdout_from, stderr_from)
    return encode(Type.HELLO, payload=fixed + token.encode())


def kill(grace: float) -> bytes:
    """Return the frame that ends the agent, `grace` seconds after it was asked to end."""
    return encode(Type.KILL, payload=_GRACE.pack(round(grace * 1000)))


def gap(stream: int, offset: int, length: int) -> Frame:
    """Return the frame that stands for bytes which are gone."""
    return Frame(Type.GAP, stream, offset, _GAP.pack(length))


def gap_length(payload: bytes) -> int:
    """Return how many bytes a GAP stands for. Raises FramesCorrupt."""
    try:
        return int(_GAP.unpack(payload)[0])
    except struct.error as error:
        raise FramesCorrupt("frames_corrupt", "A gap of the holder has no length.") from error


class Splitter:
    """Cuts a holder's bytes into frames."""

    def __init__(self) -> None:
        self._held = b""
        self.corrupt: FramesCorrupt | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes, return the frames that they complete."""
        data = self._held + data if self._held else data
        frames: list[Frame] = []
        position, end = 0, len(data)
        while end - position >= HEADER and self.corrupt is None:
            kind, detail, zero, length, offset = _HEAD.unpack_from(data, position)
            if zero or length > LONGEST_OUTPUT:
                self._fail(f"a header {data[position : position + HEADER].hex()} that no holder sends")
                break
            start = position + HEADER
            if end - start < length:
                break
            payload = data[start : start + length]
            (check,) = _CHECK.unpack_from(data, position + _HEAD.size)
            if check != zlib.crc32(payload, zlib.crc32(data[position : position + _HEAD.size])):
                self._fail(f"a frame of {length} bytes at offset {offset} that was changed on its way")
                break
            frames.append(Frame(kind, detail, offset, payload))
            position = start + length
        self._held = b"" if self.corrupt is not None else data[position:]
        return frames

    def _fail(self, found: str) -> None:
        self.corrupt = FramesCorrupt("frames_corrupt", f"The holder's bytes are out of step: {found}; attach again.")
