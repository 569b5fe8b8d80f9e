"""The reference agent: the official SDK's idea of an ACP agent, for tests that run where the SDK is installed.

It speaks for the protocol where the scripted agent speaks for us. It echoes the text of a prompt; a prompt that is

    ask     asks permission (allow_once, reject_once) for a tool call and says which option was chosen
    hang    works until it is cancelled
"""

import asyncio
from typing import Any
from uuid import uuid4

import acp
from acp import schema


class ReferenceAgent:
    """One agent on one connection, with any number of sessions."""

    def __init__(self) -> None:
        self._client: Any = None
        self._cancelled: dict[str, asyncio.Event] = {}

    def on_connect(self, conn: Any) -> None:
        self._client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        info = schema.Implementation(name="sdk-agent", version="1")
        return schema.InitializeResponse(protocol_version=min(protocol_version, acp.PROTOCOL_VERSION), agent_info=info)

    async def new_session(self, **_: Any) -> schema.NewSessionResponse:
        session = uuid4().hex
        self._cancelled[session] = asyncio.Event()
        return schema.NewSessionResponse(session_id=session)

    async def prompt(self, *, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        cancelled = self._cancelled[session_id]
        cancelled.clear()
        text = "".join(block.text for block in prompt if block.type == "text")
        if text == "hang":
            await cancelled.wait()
        else:
            await self._say(session_id, await self._ask(session_id) if text == "ask" else text)
        return schema.PromptResponse(stop_reason="cancelled" if cancelled.is_set() else "end_turn")

    async def cancel(self, session_id: str, **_: Any) -> None:
        self._cancelled[session_id].set()

    async def _say(self, session: str, text: str) -> None:
        await self._client.session_update(session_id=session, update=acp.update_agent_message_text(text))

    async def _ask(self, session: str) -> str:
        call = uuid4().hex
        await self._client.session_update(session_id=session, update=acp.start_tool_call(call, "ask", status="pending"))
        options = [schema.PermissionOption(option_id=f"opt-{k}", name=k, kind=k) for k in ("allow_once", "reject_once")]
        reply = await self._client.request_permission(
            session_id=session, tool_call=schema.ToolCallUpdate(tool_call_id=call), options=options
        )
        chosen = getattr(reply.outcome, "option_id", "cancelled")
        update = acp.update_tool_call(call, status="completed" if chosen == "opt-allow_once" else "failed")
        await self._client.session_update(session_id=session, update=update)
        return str(chosen)


if __name__ == "__main__":
    reference: Any = ReferenceAgent()  # the SDK's Protocol wants every method, also those it calls only when advertised
    asyncio.run(acp.run_agent(reference))
