"""A model that answers one half, and the other one later: what is under way while something ends."""

import asyncio

import h11

from tests.integration.http_ends import End


class Halves:
    """A model that answers one half, and the other one when it is told to."""

    def __init__(self) -> None:
        self.go_on, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, end: End, request: h11.Request) -> None:
        body = await end.hear_body()
        if request.target != b"/v1/halves":
            await end.answer(200, body or b"whole")
            return
        await end.say(h11.Response(status_code=200, headers=[("content-length", "12")]), h11.Data(data=b"first "))
        going, leaving = asyncio.ensure_future(self.go_on.wait()), asyncio.ensure_future(end.reader.read())
        await asyncio.wait([going, leaving], return_when=asyncio.FIRST_COMPLETED)
        if self.go_on.is_set():
            await end.say(h11.Data(data=b"second"), h11.EndOfMessage())
        else:
            going.cancel()
            self.left.set()
        leaving.cancel()
        await asyncio.wait([leaving])


async def begin(agent: End) -> None:
    """Ask for the answer in halves, and hear the first."""
    await agent.ask("POST", "/v1/halves", b"{}")
    assert (await agent.hear()).status_code == 200
    assert (await agent.hear()).data == b"first "
