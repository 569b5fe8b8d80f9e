"""What ends what is under way."""

import asyncio

from acp_runtime.manager.delivery import called_off

BOUND = 30.0


async def test_who_waits_for_the_end_of_something_can_be_cancelled() -> None:
    begun, held = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await held.wait()

    task = asyncio.create_task(slow())
    async with asyncio.timeout(BOUND):
        await begun.wait()
        waiting = asyncio.create_task(called_off(task))
        while task.cancelling() == 0:  # noqa: ASYNC110 - a task tells nobody that it was cancelled
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert (waiting.cancelled(), task.done()) == (True, False)
        held.set()
        await asyncio.wait((task,))
