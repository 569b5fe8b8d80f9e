"""The proxy between a real editor and a real agent: what each of them may do wrong, and how both of them end."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import acp
import pytest

from acp_runtime.acp_proxy.streams import LINE_CAP, Incoming, Outgoing
from acp_runtime.detached import wait_for_end
from tests.agents.raw_client import LIMIT, stop_reason
from tests.contract.conftest import processes_of
from tests.integration.acp_proxy.conftest import AGENTS, COMMAND, Start

pytestmark = pytest.mark.requirement("D10.20")


class Editor(acp.Client):
    """The client of the official SDK."""

    # ruff: noqa: ARG002 - the SDK passes them by name

    def __init__(self) -> None:
        self.said = ""

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        if isinstance(update, acp.schema.AgentMessageChunk) and isinstance(update.content, acp.schema.TextContentBlock):
            self.said += update.content.text

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **_: Any) -> Any:
        chosen = acp.schema.AllowedOutcome(outcome="selected", option_id=options[0].option_id)
        return acp.schema.RequestPermissionResponse(outcome=chosen)


async def test_a_client_of_the_official_sdk_drives_an_agent_through_the_proxy(tmp_path: Path) -> None:
    editor = Editor()
    words = (str(COMMAND), "acp", "--", sys.executable, str(AGENTS / "scripted_agent.py"))
    async with acp.spawn_agent_process(editor, sys.executable, *words, transport_kwargs={"stderr": None}) as (agent, _):
        hello = await agent.initialize(protocol_version=1)
        assert hello.agent_info is not None
        assert hello.agent_info.name == "scripted-agent"
        session = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])
        text = "[[write:a.txt|hi]][[ask:allow_once,reject_once]][[say:done]]"
        done = await agent.prompt(session_id=session.session_id, prompt=[acp.text_block(text)])
        assert done.stop_reason == "end_turn"
    assert editor.said == "chose opt-0done"
    assert (tmp_path / "a.txt").read_text() == "hi"


def test_what_an_editor_does_wrong_is_answered_by_the_agent(start: Start) -> None:
    editor = start()
    assert editor.call("session/new", {"cwd": "/", "mcpServers": []})["error"]["code"] == -32600
    editor.send(b"this is no JSON")
    assert editor.until(lambda message: message.get("id", 0) is None)["error"]["code"] == -32700
    editor.open()
    assert editor.call("session/prompt", {"sessionId": "nobody's", "prompt": []})["error"]["code"] == -32602
    first = editor.begin("[[say:here]][[hang-politely]]")
    editor.until(lambda message: message.get("method") == "session/update")
    second = editor.start("session/prompt", {"sessionId": editor.session, "prompt": [{"type": "text", "text": "two"}]})
    assert stop_reason(editor.answer(second)) == "end_turn"
    assert editor.call("_vendor/method", {"kept": None})["error"]["code"] == -32601
    editor.close()
    assert first


def test_a_turn_that_is_cancelled_twice_ends_once(start: Start) -> None:
    editor = start().open()
    running = editor.begin("[[say:here]][[hang-politely]]")
    editor.until(lambda message: message.get("method") == "session/update")
    editor.cancel()
    editor.cancel()
    assert stop_reason(editor.answer(running)) == "cancelled"
    assert stop_reason(editor.prompt("again")) == "end_turn"
    assert [message["id"] for message in editor.messages if "id" in message] == [editor.ids]


def test_a_line_over_the_cap_is_refused_by_its_id_and_what_comes_after_it_goes_on(start: Start) -> None:
    editor = start().open()
    prompt = {"sessionId": editor.session, "prompt": [{"type": "text", "text": "x" * LINE_CAP}]}
    assert editor.call("session/prompt", prompt)["error"]["code"] == -32600
    assert "over the cap" in editor.prompt(f"[[bigresponse:{LINE_CAP + 1}]]")["error"]["message"]
    assert stop_reason(editor.prompt("small")) == "end_turn"


def test_an_agent_that_ends_ends_the_proxy_and_its_last_words_are_passed_on(start: Start) -> None:
    editor = start().open()
    editor.begin("[[say:last words]][[exit:3]]")
    assert editor.end() == 1
    assert editor.said() == "last words"
    assert b"the agent ended with exit code 3" in editor.stderr.read()


def test_an_editor_that_leaves_ends_the_agent_and_its_whole_group(start: Start, tmp_path: Path) -> None:
    editor = start(command=("/bin/sh", "-c", "sleep 600 & exec cat"))
    editor.send(b'{"jsonrpc":"2.0","id":1.0}')
    assert editor.line() == b'{"jsonrpc":"2.0","id":1.0}'
    editor.stdin.close()
    assert editor.end() == 0
    assert all(wait_for_end(pid, LIMIT) for pid in processes_of(tmp_path))


def test_a_signal_ends_an_agent_that_ends_for_nothing_else(start: Start, tmp_path: Path) -> None:
    editor = start("--ignore-eof", "--ignore-term").open()
    editor.process.terminate()
    assert editor.end() == 143
    assert all(wait_for_end(pid, LIMIT) for pid in processes_of(tmp_path))


def test_an_agent_ends_when_its_proxy_is_killed(start: Start, tmp_path: Path) -> None:
    editor = start().open()
    editor.process.kill()
    assert editor.end() == -signal.SIGKILL
    assert all(wait_for_end(pid, LIMIT) for pid in processes_of(tmp_path))


def test_what_cannot_be_served_is_told_and_nothing_is_started(start: Start) -> None:
    editor = start(command=("/nonexistent/agent",))
    assert editor.end() == 2
    assert b"'/nonexistent/agent' cannot be run: No such file" in editor.stderr.read()


async def test_a_side_that_does_not_read_keeps_the_other_from_being_read() -> None:
    read_end, write_end = os.pipe()
    crowded: asyncio.Queue[bool] = asyncio.Queue()
    outgoing = Outgoing(crowded.put_nowait)
    await outgoing.connect(os.fdopen(write_end, "wb", buffering=0))
    outgoing.write([b"x" * 1_000_000])
    async with asyncio.timeout(LIMIT):
        assert await crowded.get() is True
        said: asyncio.Queue[list[Any]] = asyncio.Queue()
        incoming = Incoming(said.put_nowait, lambda: None)
        other_read, other_write = os.pipe()
        await incoming.connect(os.fdopen(other_read, "rb", buffering=0))
        incoming.hold("a reason")
        os.write(other_write, b"held\n")
        reader = asyncio.get_running_loop().run_in_executor(None, _read, read_end, 1_000_001)
        assert await crowded.get() is False
        assert said.empty()
        incoming.release("a reason")
        assert await said.get() == [b"held"]
        assert await reader == 1_000_001
        incoming.close()
        await outgoing.close()
    os.close(read_end)
    os.close(other_write)


def _read(descriptor: int, size: int) -> int:
    got = 0
    while got < size:
        got += len(os.read(descriptor, 65_536))
    return got
