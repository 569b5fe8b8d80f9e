"""The session's queue before a real holder on a real disk: a line of which nothing was taken is given again."""

import asyncio
from pathlib import Path

import pytest

from acp_runtime.session.outgoing import Outgoing
from tests.contract.holder.held import BOUND, Held, fill


@pytest.mark.requirement("D08.6")
async def test_a_line_that_found_no_room_is_given_again_in_its_turn(
    held: Held, small_disk: Path, caplog: pytest.LogCaptureFixture
):
    await held.start("cat")
    heard, channel = await held.attach()
    outgoing = Outgoing(channel, lambda: None)
    try:
        fill(small_disk / "ballast")
        for number in range(1, 4):
            outgoing.put(b"%d\n" % number)
        async with asyncio.timeout(BOUND):
            while "a line for an agent waits" not in caplog.text:
                await channel.ask()
        assert (await channel.ask()).accepted == 0
        (small_disk / "ballast").unlink()
        await heard.until(lambda: heard.stdout == b"1\n2\n3\n")
    finally:
        await outgoing.close()
