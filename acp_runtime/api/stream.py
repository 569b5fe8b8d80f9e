"""Server-sent events: wake-ups of a parent, and what happens to a subagent.

Each `data:` line is one JSON object. A comment line every 15 seconds says that the daemon is there. The comment `end`
is the last line of a stream to which nothing will be added; an error is its last event, with `status`, `error`, `kind`
and `data`. One that ends otherwise broke off.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from acp_runtime.api.failures import failure
from acp_runtime.callers import OPERATOR, Caller, admitted
from acp_runtime.core.errors import Rejected
from acp_runtime.service import Runtime
from acp_runtime.views import EventView, SubagentView, Wakeup

ALIVE_SECONDS: Final = 15.0
PAGE: Final = 200
END: Final = b": end\n\n"
_ALIVE: Final = b": here\n\n"
_WAKEUP: Final = TypeAdapter(Wakeup)
_EVENT: Final = TypeAdapter(EventView)


class Stream(StrEnum):
    """What can be followed."""

    WAKEUPS = "wakeups"
    EVENTS = "events"


async def stream_of(request: Request, runtime: Runtime, closing: asyncio.Event) -> Response:
    """Return the response that follows what the path names. Raises `Rejected` before the first byte of it."""
    caller = _caller(request)
    if request.url.path.endswith(Stream.WAKEUPS):
        told = _wakeups(runtime, caller)
    else:
        subagent = request.query_params.get("subagent", "")
        await runtime.status(caller, subagent)
        told = _events(runtime, caller, subagent, _since(request))
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_lines(told, closing), media_type="text/event-stream", headers=headers)


def _caller(request: Request) -> Caller:
    parent = request.query_params.get("parent")
    if parent is not None:
        return admitted(parent)
    if request.query_params.get("operator") == "true":
        return OPERATOR
    raise Rejected("invalid", "say who follows: parent=NAME or operator=true")


def _since(request: Request) -> int:
    since = request.query_params.get("since", "0")
    if not since.isascii() or not since.isdigit() or len(since) > 18:
        raise Rejected("invalid", "since is a cursor: a number, 0 for the beginning")
    return int(since)


async def _wakeups(runtime: Runtime, caller: Caller) -> AsyncGenerator[bytes]:
    async for wakeup in runtime.wakeups(caller):
        yield _WAKEUP.dump_json(wakeup)


async def _events(runtime: Runtime, caller: Caller, subagent: str, since: int) -> AsyncGenerator[bytes]:
    """Tell what happened after the cursor and what happens, until the subagent has ended and all is told."""
    while True:
        tick = runtime.tick
        view = await runtime.status(caller, subagent)
        page = await runtime.poll(caller, subagent, since=since, limit=PAGE)
        for row in page.rows:
            yield _EVENT.dump_json(row)
        if page.next_seq > since:
            since = page.next_seq
        elif view.status.over and await _has_ended(runtime, caller, view):
            return
        else:
            await runtime.changed(tick)


async def _has_ended(runtime: Runtime, caller: Caller, view: SubagentView) -> bool:
    """Return whether the end is in the log: the status says so from the moment on at which a stop is begun."""
    newest = await runtime.poll(caller, view.id, since=view.seq - 1, limit=1)
    return any(row.kind == "ended" for row in newest.rows)


async def _lines(told: AsyncGenerator[bytes], closing: asyncio.Event) -> AsyncIterator[bytes]:
    ending = asyncio.ensure_future(closing.wait())
    following: asyncio.Future[bytes] | None = None
    try:
        yield _ALIVE
        while not ending.done():
            following = following or asyncio.ensure_future(anext(told))
            await asyncio.wait((following, ending), timeout=ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                yield b"data: " + following.result() + b"\n\n"
                following = None
            elif not ending.done():
                yield _ALIVE
        raise Rejected("closing", "the daemon is being closed; follow the next one from here on")  # noqa: TRY301 - told below
    except StopAsyncIteration:
        yield END
    except Exception as error:  # noqa: BLE001 - the status is sent already: the stream tells what went wrong
        status, fields = failure(error)
        yield b"data: " + json.dumps({"status": status, **fields}, default=str).encode() + b"\n\n"
    finally:
        for each in (ending, following):
            if each is not None:
                each.cancel()
        await asyncio.gather(*(each for each in (ending, following) if each is not None), return_exceptions=True)
        await told.aclose()
