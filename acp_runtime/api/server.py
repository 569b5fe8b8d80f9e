"""The daemon's HTTP application over one `Runtime`.

Promises: only what stands in the table of methods can be called, every body and every request has a bound, every
failure is an answer with kind, sentence and data, and a stream says something every 15 seconds.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from acp_runtime import __version__
from acp_runtime.api.errors import BUG
from acp_runtime.api.failures import OtherStore, OtherVersion, TooLate, failure
from acp_runtime.api.methods import EXPOSED, Method, method_of
from acp_runtime.api.stream import Stream, stream_of
from acp_runtime.api.unix_client import CALL_SECONDS, FOLDER_HEADER, LONGEST_CALL, TICK_HEADER, VERSION_HEADER
from acp_runtime.api.unix_socket import other_folder
from acp_runtime.core.errors import Rejected, SubagentsError
from acp_runtime.core.plaintext import one_line
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.service import Runtime

MAX_BODY: Final = 16 * 1024 * 1024  # the longest task, with every character escaped
BODY_SECONDS: Final = 20.0
MARGIN_SECONDS: Final = 20.0  # the answer comes before the client gives up
CHANGED_SECONDS: Final = 30.0


@dataclass(slots=True)
class Front:
    """What the application knows beside its runtime. `closing` is set when the daemon ends; `calls` counts requests.

    `hello` may be added to while the daemon runs.
    """

    runtime: Runtime
    hello: dict[str, Any]
    hand_over: Callable[[], None]
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    @property
    def tick(self) -> int:
        """Changes with every commit, and with every owner of the store."""
        return (self.runtime.ownership[1] << 32) + self.runtime.tick


def application(front: Front) -> Starlette:
    """Return the application."""

    async def hello(_: Request) -> Response:
        return JSONResponse(front.hello)

    async def hand_over(_: Request) -> Response:
        front.hand_over()
        return JSONResponse(front.hello)

    async def call(request: Request) -> Response:
        # First: who closes on what was not read takes his answer with him.
        body = await _body(request)
        _begin(front, request)
        name = request.path_params["method"]
        if name not in EXPOSED:
            raise Rejected("unknown_method", f"the daemon has no method {one_line(name, 60)}")
        method = method_of(name)
        given = _checked(method, method.read(body))
        work: Awaitable[Any] = getattr(front.runtime, method.name)(**given)
        if method.name == "wait":
            work = _unless_left(front, request, work)
        bound = CALL_SECONDS - MARGIN_SECONDS + min(float(given.get("seconds") or 0), LONGEST_CALL)
        return _plain(front, method.result, await _within(bound, method.name, work))

    async def changed(request: Request) -> Response:
        body = await _body(request)
        _begin(front, request)
        tick = _tick(body)
        if tick == front.tick:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHANGED_SECONDS):
                    await _unless_left(front, request, front.runtime.changed(front.runtime.tick))
        return JSONResponse({}, headers=_moment(front))

    async def stream(request: Request) -> Response:
        _begin(front, request)
        return await stream_of(request, front.runtime, front.closing)

    app = Starlette(
        routes=[
            Route("/v1/hello", hello, methods=["GET"]),
            Route("/v1/hand_over", hand_over, methods=["POST"]),
            Route("/v1/changed", changed, methods=["POST"]),
            *(Route(f"/v1/{each}", stream, methods=["GET"]) for each in Stream),
            Route("/v1/{method}", call, methods=["POST"]),
        ],
        exception_handlers=_HANDLERS,
    )
    app.state.front = front
    return app


def _begin(front: Front, request: Request) -> None:
    front.calls += 1
    given = request.headers.get(VERSION_HEADER, "unknown")
    if given != __version__:
        raise OtherVersion(
            f"the daemon is version {__version__}, this client is {one_line(given, 40)}; "
            "run `subagents serve --replace` with the version you want"
        )
    folder = request.headers.get(FOLDER_HEADER)
    if folder and folder != front.hello["folder"]:
        raise OtherStore(other_folder(str(front.hello["folder"]), folder))


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    sentence = f"the request is larger than {MAX_BODY} bytes; give the agent a file instead"
                    raise Rejected("too_large", sentence)
    except TimeoutError as error:
        raise TooLate(f"the request was not there within {BODY_SECONDS:g} s; nothing was done") from error
    except ClientDisconnect as error:
        raise Rejected("invalid", "the request broke off; nothing was done") from error
    return bytes(body)


def _checked(method: Method, given: dict[str, Any]) -> dict[str, Any]:
    if method.name in ("spawn", "vet") and not given["request"].workspace.is_absolute():
        shown = one_line(str(given["request"].workspace), 200)
        raise Rejected("invalid", f"the workspace {shown} is relative; the daemon needs the whole path")
    seconds = given.get("seconds")
    if seconds is not None and not 0 <= seconds <= LONGEST_CALL:
        raise Rejected("invalid", f"seconds is {seconds:g}; it must be between 0 and {LONGEST_CALL:g}")
    return given


def _tick(body: bytes) -> int:
    try:
        return int(json.loads(body)["tick"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise Rejected("invalid", 'changed needs {"tick": NUMBER}') from error


async def _within(seconds: float, name: str, work: Awaitable[Any]) -> Any:
    """Return what comes of `work`; its own TimeoutError is none of ours."""
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            return await work
    except TimeoutError:
        if not bound.expired():
            raise
    raise TooLate(f"{name} was not done within {seconds:g} s; it may still happen: look before you ask again")


async def _unless_left(front: Front, request: Request, work: Awaitable[Any]) -> Any:
    """Return what comes of `work`, and give it up when the client has left or the daemon ends."""
    doing = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(request))
    closing = asyncio.ensure_future(front.closing.wait())
    try:
        await asyncio.wait((doing, left, closing), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
    finally:
        for each in (doing, left, closing):
            each.cancel()
        await asyncio.gather(doing, left, closing, return_exceptions=True)
    raise Rejected("closing", "the daemon is being closed; ask again, the next one goes on where it was")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _plain(front: Front, result: TypeAdapter[Any], value: Any) -> Response:
    return Response(result.dump_json(value), media_type="application/json", headers=_moment(front))


def _moment(front: Front) -> dict[str, str]:
    return {TICK_HEADER: str(front.tick)}


async def _tell(_: Request, error: Exception) -> Response:
    status, fields = failure(error)
    return Response(json.dumps(fields, default=str), status, media_type="application/json")


async def _tell_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else BUG
    what = one_line(f"{request.method} {request.url.path}", 100)
    sentence = f"{what} is not part of this interface; docs/daemon.md lists what is"
    return JSONResponse({"error": sentence, "kind": "unknown_method", "data": {}}, status)


_HANDLERS: dict[Any, ExceptionHandler] = {
    HTTPException: _tell_http,
    SubagentsError: _tell,
    LaunchError: _tell,
    Exception: _tell,
}
