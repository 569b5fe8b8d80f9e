"""What a relay and the manager that is attached to it say to each other. Sans-io; docs/framing.md is the contract."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from sandbox.errors import SandboxError
from sandbox.holder.frames import encode

VERSION: Final = 1
WINDOW: Final = 65_536  # bytes that either side may send of a stream before it is given more
CREDIT_AT: Final = WINDOW // 4
PIECE: Final = 16_384  # of one stream, before the next has its turn

_HELLO = struct.Struct(">4sHHQ")
_WELCOME = struct.Struct(">4Q")
_CREDIT = struct.Struct(">L")
_PORT = struct.Struct(">H")


class Type(IntEnum):
    """The first byte of a frame. HELLO and PING are the manager's; WELCOME, OPEN and ERROR the relay's."""

    HELLO = ord("H")
    PING = ord("P")
    WELCOME = ord("W")
    ERROR = ord("X")
    OPEN = ord("O")
    DATA = ord("D")
    CREDIT = ord("C")
    END = ord("E")
    RESET = ord("R")


class RelayError(SandboxError):
    """A relay refused, or what came is not what a relay sends. `name` is that of the reason on the wire.

    `about` is the number that the relay gave with it: its epoch, its version, or 0.
    """

    kind = "relay_error"

    def __init__(self, name: str, sentence: str, about: int = 0) -> None:
        super().__init__(sentence)
        self.name, self.about = name, about

    @classmethod
    def told(cls, text: str, about: int) -> Self:
        """Make the error that a relay told as `name: sentence`."""
        name, _, sentence = text.partition(": ")
        return cls(name, sentence or text, about)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a relay tells of itself. `epoch` is that of the manager that is attached now."""

    version: int
    epoch: int
    streams: int
    window: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read the payload; later versions may add fields. Raises RelayError (`frames_corrupt`)."""
        try:
            return cls(*_WELCOME.unpack_from(payload))
        except struct.error as error:
            raise corrupt("a welcome that says nothing") from error


def hello(token: str, epoch: int) -> bytes:
    """Return the frame with which a manager begins."""
    return encode(Type.HELLO, payload=_HELLO.pack(b"ACPR", VERSION, VERSION, epoch) + token.encode())


def credit(stream: int, count: int) -> bytes:
    """Return the frame that lets the other side send `count` bytes more."""
    return encode(Type.CREDIT, 0, stream, _CREDIT.pack(count))


def credit_of(payload: bytes) -> int:
    """Read a CREDIT. Raises RelayError (`frames_corrupt`)."""
    try:
        return int(_CREDIT.unpack(payload)[0])
    except struct.error as error:
        raise corrupt("a credit without a number") from error


def port_of(payload: bytes) -> int:
    """Read an OPEN. Raises RelayError (`frames_corrupt`)."""
    try:
        return int(_PORT.unpack_from(payload)[0])
    except struct.error as error:
        raise corrupt("an open without a port") from error


def corrupt(found: str) -> RelayError:
    return RelayError("frames_corrupt", f"The relay's bytes are out of step: {found}; attach again.")
