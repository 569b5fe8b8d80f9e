"""The server object: what the official SDK calls for the requests of a session, whatever carries them.

A call that a tool turns down is a result with `isError`, so that the model reads why; a request that the protocol has
no place for is an error of the protocol.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from acp_runtime import __version__
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp.session import Session, Told
from acp_runtime.tools import Tool

NAME: Final = "subagents"
INSTRUCTIONS: Final = (
    "Background coding agents that work in containers of their own while you go on. Answers end with a "
    "<background-subagents> block when there is something to tell: what has finished or asks, and who is at work."
)
BLOCK: Final = "background_subagents"
# Requests that follow from what was read. Others a host sends by itself: libraries list the tools after a first answer.
_READERS: Final = frozenset({"tools/call", "resources/read"})

Context = ServerRequestContext[Any, Any]


def server_of(session_of: Callable[[Context], Session]) -> Server[Any]:
    """Return the server of the sessions that `session_of` finds for a request. It may raise `MCPError`."""

    async def list_tools(ctx: Context, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_shown(tool) for tool in session_of(ctx).tools])

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        session = session_of(ctx)
        tool = next((each for each in session.tools if each.name == params.name), None)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {one_line(params.name, 60)}")

        async def progress(seconds: float) -> None:
            await ctx.session.report_progress(seconds, message=f"under way for {seconds:.0f} s")

        return _result(await session.call(ctx.request_id, tool, params.arguments, progress))

    async def watch(ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.request_id is not None and ctx.method in _READERS:
            await session_of(ctx).telling.acknowledge()
        elif ctx.method == "notifications/cancelled" and isinstance(
            ident := (ctx.params or {}).get("requestId"), str | int
        ):
            session_of(ctx).telling.unsent(ident)
        return await call_next(ctx)

    server: Server[Any] = Server(
        NAME,
        version=__version__,
        title="Background subagents",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.append(watch)
    return server


def _shown(tool: Tool) -> types.Tool:
    schema = tool.schema()
    annotations = types.ToolAnnotations(
        read_only_hint=tool.kind == "read",
        destructive_hint=tool.destructive,
        idempotent_hint=tool.repeatable or tool.kind == "read",
        open_world_hint=tool.open_world,
    )
    return types.Tool(
        name=tool.name, description=tool.sentence, input_schema=schema["parameters"], annotations=annotations
    )


def _result(told: Told) -> types.CallToolResult:
    """Return both forms of an answer: hosts show a model one of them, so the block is in each."""
    texts = [json.dumps(told.answer, ensure_ascii=False), *([told.block] if told.block else [])]
    block = {BLOCK: told.block} if told.block else {}
    return types.CallToolResult(
        content=[types.TextContent(text=text) for text in texts],
        structured_content=told.answer | block,
        is_error=told.failed,
    )
