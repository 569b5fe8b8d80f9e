"""Each side notices when nobody is at the other end of a link that does not break."""

import asyncio
import os
import signal

import pytest

from sandbox.channel import Receiver
from sandbox.holder import pulse
from sandbox.holder.link import Link
from sandbox.holder.pulse import Pulse
from tests.contract.holder.held import BOUND, Heard, Held, hello, holders

SHIPPED = pytest.mark.parametrize("held", ["shipped-attach"], indirect=True)
BOTH = pytest.mark.parametrize("held", ["shipped-socket", "shipped-attach"], indirect=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.05)
    monkeypatch.setattr(pulse, "ANSWER_BOUND", 0.2)


@BOTH
@pytest.mark.usefixtures("quick")
async def test_a_holder_that_says_nothing_any_more_is_lost_and_attached_again(
    held: Held, monkeypatch: pytest.MonkeyPatch
):
    await held.start("cat")
    heard, channel = await held.attach()
    (holder,) = holders(held.journal)
    os.kill(holder, signal.SIGSTOP)
    try:
        await heard.until(lambda: heard.lost)
    finally:
        os.kill(holder, signal.SIGCONT)
    assert heard.lost == ["nothing was heard of the holder for 0.2 s"]
    monkeypatch.setattr(pulse, "ANSWER_BOUND", BOUND)  # from here on it answers, however busy the machine is
    await channel.attach(held.opener)
    await channel.send(b"still there\n")
    await heard.until(lambda: heard.stdout == b"still there\n")


@SHIPPED
async def test_an_attach_ends_when_its_client_says_nothing(held: Held):
    await held.start("sh", "-c", "while sleep 0.1; do echo on; done")
    heard = Heard()
    link = await held.process(heard, "attach", str(held.socket), "1")
    await link.send(hello(held))
    await heard.until(lambda: heard.closed)
    await link.close()


@SHIPPED
async def test_an_attach_stays_while_its_client_says_a_word_now_and_then(held: Held, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pulse, "EVERY", 0.05)
    monkeypatch.setattr(pulse, "ANSWER_BOUND", 1.0)

    async def opener(receiver: Receiver) -> Link:
        return await held.process(receiver, "attach", str(held.socket), "3")

    await held.start("sh", "-c", "sleep 4; echo slept; read x")
    heard, channel = held.channel()
    await channel.attach(opener)
    await heard.until(lambda: heard.stdout == b"slept\n")
    assert heard.lost == []


@SHIPPED
async def test_no_time_at_all_is_refused(held: Held):
    for given in ("0", "-1", "soon", ""):
        heard = Heard()
        link = await held.process(heard, "attach", str(held.socket), given)
        await heard.until(lambda heard=heard: heard.closed)
        await link.close()
        assert b"usage" in heard.stderr


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("deaf", [False, True])
async def test_nothing_is_lost_of_what_is_heard_or_not_read(*, deaf: bool):
    said, lost = asyncio.Queue[None](), []

    async def say() -> None:
        said.put_nowait(None)
        if not deaf:
            beating.heard()

    async def lose(why: str) -> None:
        lost.append(why)

    beating = Pulse(say, lose)
    beating.deafen(deaf=deaf)
    beating.start()
    async with asyncio.timeout(BOUND):
        for _ in range(3):
            await said.get()
        assert lost == []
        beating.deafen(deaf=False)
        beating.stop()
