"""A holder of the first version, as it spoke: its words are kept, and the client of today goes on with it."""

import asyncio
from pathlib import Path

import pytest

from sandbox.channel import Receiver
from sandbox.errors import ChannelStalled
from sandbox.holder import frames
from sandbox.holder.channel import HeldChannel
from sandbox.holder.frames import Frame, Phase, Splitter, Type
from tests.contract.holder.held import BOUND, Heard

KEPT = Path(__file__).parents[2] / "fixtures" / "holder_frames" / "version_1.hex"


class Replay:
    """A link to the holder that was recorded: it answers a hello, and each line with what is next of what it said."""

    def __init__(self, receiver: Receiver, said: list[Frame]) -> None:
        self._receiver = receiver
        self._said = said
        self.heard: list[Frame] = []

    async def send(self, data: bytes) -> None:
        for frame in Splitter().feed(data):
            self.heard.append(frame)
            if frame.type == ord("H"):
                self.tell(3)
            elif frame.type == Type.INPUT:
                self.tell(1)

    def tell(self, count: int) -> None:
        for _ in range(count):
            self._receiver.on_stdout(frames.encode(*self._said.pop(0)))

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.requirement("D08.5")
async def test_a_holder_of_the_first_version_is_attached_to_and_heard_to_its_end() -> None:
    hello, *said = Splitter().feed(bytes.fromhex("".join(KEPT.read_text(encoding="ascii").split())))
    links: list[Replay] = []

    async def opener(receiver: Receiver) -> Replay:
        links.append(Replay(receiver, said))
        return links[0]

    heard = Heard()
    channel = HeldChannel(heard, heard, token="0123456789abcdef", epoch=3, stdout_from=5, stderr_from=6)
    async with asyncio.timeout(BOUND):
        state = await channel.attach(opener)
        assert links[0].heard == [hello]
        assert (state.accepted, channel.input_end) == (70, 70)
        assert (bytes(heard.stdout), heard.gaps) == (b"hello\n", [(2, 6, 1000)])
        await channel.send(b"again!\n")
        assert channel.input_end == 77
        with pytest.raises(ChannelStalled):
            await channel.send(b"too much\n")
        links[0].tell(1)
        ended = await channel.wait_over()
    assert [frame.offset for frame in links[0].heard if frame.type == Type.INPUT] == [70, 77]
    assert (ended.phase, ended.signal, len(heard.closed)) == (Phase.ENDED, 9, 1)
    await channel.close()
