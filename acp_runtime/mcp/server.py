"""The server object: what the official SDK calls for the requests of a session, whatever carries them.

A call that a tool turns down is a result with `isError`, so that the model reads why; a request that the protocol has
no place for is an error of the protocol.
"""

import json
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from acp_runtime import __version__
from acp_runtime.core.errors import Rejected, SubagentsError
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp import resources
from acp_runtime.mcp.identity import session_told
from acp_runtime.mcp.mistakes import explained
from acp_runtime.mcp.session import Session, Told
from acp_runtime.tools import Limits, Tool
from acp_runtime.views import SubagentView

NAME: Final = "subagents"
INSTRUCTIONS: Final = (
    "Background coding agents that work in containers of their own while you go on, each on a copy of your workspace: "
    "what one changed is a patch once it has ended, and your files are as they were. Answers end with a "
    "<background-subagents> block when there is something to tell: what has finished or asks, and who is at work."
)
BLOCK: Final = "background_subagents"
# Requests that follow from what was read. Others a host sends by itself: libraries list the tools after a first answer.
_READERS: Final = frozenset({"tools/call", "resources/read"})

# The code of the handshake's era; later ones have it as invalid parameters.
_NOT_FOUND: Final = -32002
_TEMPLATES: Final = tuple(
    types.ResourceTemplate(
        name=kind,
        uri_template=f"{resources.SCHEME}://{{id}}/{kind}{{?offset}}",
        description=template.about,
        mime_type=template.mime,
    )
    for kind, template in resources.TEMPLATES.items()
)

Context = ServerRequestContext[Any, Any]
SessionOf = Callable[[Context], Session]
KeyOf = Callable[[Context, types.RequestId | None], Hashable]


def server_of(session_of: SessionOf, key_of: KeyOf = lambda _, ident: ident) -> Server[Any]:
    """Return the server of the sessions that `session_of` finds for a request. It may raise `MCPError`.

    `key_of` tells apart, within a session, the requests whose ids are given.
    """
    handlers = _Handlers(session_of, key_of)
    server: Server[Any] = Server(
        NAME,
        version=__version__,
        title="Background subagents",
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
    )
    server.middleware.extend((explained, handlers.watch))
    return server


class _Handlers:
    """What becomes of each request."""

    def __init__(self, session_of: SessionOf, key_of: KeyOf) -> None:
        self._session_of = session_of
        self._key_of = key_of

    async def watch(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Hear of what a session has read, and of what it will not read, before anything else is done."""
        if ctx.request_id is not None and ctx.method in _READERS:
            await self._session_of(ctx).telling.acknowledge()
        elif ctx.method == "notifications/cancelled":
            ident = (ctx.params or {}).get("requestId")
            if isinstance(ident, str | int):
                self._session_of(ctx).telling.unsent(self._key_of(ctx, ident))
        return await call_next(ctx)

    async def list_tools(self, ctx: Context, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        session = self._session_of(ctx)
        return types.ListToolsResult(tools=[_shown(tool, session.desk.limits) for tool in session.tools])

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        session = self._session_of(ctx)
        await session.introduced(session_told((ctx.params or {}).get("_meta")))
        tool = next((each for each in session.tools if each.name == params.name), None)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {one_line(params.name, 60)}")

        async def progress(seconds: float) -> None:
            await ctx.session.report_progress(seconds, message=f"under way for {seconds:.0f} s")

        key = self._key_of(ctx, ctx.request_id)
        return _result(await session.call(key, tool, params.arguments, progress))

    async def list_resources(self, ctx: Context, _: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        with _told(ctx):
            found = await resources.listed(self._session_of(ctx).desk)
        return types.ListResourcesResult(resources=[_listed(each, view) for each, view in found])

    async def list_templates(
        self, _ctx: Context, _: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list(_TEMPLATES))

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        with _told(ctx):
            wanted = resources.Resource.of(params.uri)
            page = await resources.read(self._session_of(ctx).desk, wanted)
        meta = {"total_chars": page.total, **({"next": page.following} if page.following else {})}
        contents = types.TextResourceContents(
            uri=params.uri, mime_type=resources.TEMPLATES[wanted.kind].mime, text=page.text, _meta=meta
        )
        return types.ReadResourceResult(contents=[contents])


@contextmanager
def _told(ctx: Context) -> Iterator[None]:
    """Tell what goes wrong as an error of the protocol, for requests whose answers no model reads."""
    try:
        yield
    except SubagentsError as error:
        unknown = types.INVALID_PARAMS if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS else _NOT_FOUND
        code = unknown if isinstance(error, Rejected) else types.INTERNAL_ERROR
        raise MCPError(code, str(error), {"kind": error.kind}) from error


def _listed(each: resources.Resource, view: SubagentView) -> types.Resource:
    template = resources.TEMPLATES[each.kind]
    title = f"{each.kind} of {view.name}"
    return types.Resource(
        name=f"{view.id}/{each.kind}", title=title, uri=each.uri, description=template.about, mime_type=template.mime
    )


def _shown(tool: Tool, limits: Limits | None) -> types.Tool:
    schema = tool.schema(limits)
    annotations = types.ToolAnnotations(
        read_only_hint=tool.kind == "read",
        destructive_hint=tool.destructive,
        idempotent_hint=tool.repeatable or tool.kind == "read",
        open_world_hint=tool.open_world,
    )
    return types.Tool(
        name=tool.name, description=schema["description"], input_schema=schema["parameters"], annotations=annotations
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
