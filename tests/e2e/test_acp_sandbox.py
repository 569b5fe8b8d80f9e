"""An editor whose agent runs in a sandbox of ours: what it does stays in there, and comes out as a patch."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import acp
import pytest

from acp_runtime.api.unix_client import UnixClient
from acp_runtime.detached import wait_for_end
from tests.agents.scripted_model import ScriptedModel, call
from tests.e2e.stage import BOUND, Running, Stage, git, on_engine

pytestmark = [pytest.mark.docker, pytest.mark.requirement("D10.56")]


class Editor(acp.Client):
    """The client of the official SDK, which offers its files and its terminal."""

    # ruff: noqa: ARG002 - the SDK passes them by name

    def __init__(self) -> None:
        self.said = ""
        self.wrote: list[str] = []
        self.asked: list[str] = []
        self.speaks = asyncio.Event()

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        if isinstance(update, acp.schema.AgentMessageChunk) and isinstance(update.content, acp.schema.TextContentBlock):
            self.said += update.content.text
            self.speaks.set()

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **_: Any) -> Any:
        self.asked.append(tool_call.tool_call_id)
        chosen = acp.schema.AllowedOutcome(outcome="selected", option_id=options[0].option_id)
        return acp.schema.RequestPermissionResponse(outcome=chosen)

    async def write_text_file(self, content: str, path: str, session_id: str, **_: Any) -> None:
        self.wrote.append(path)


def words(stage: Stage, agent: str = "scripted") -> list[str]:
    own = ("--config", str(stage.config), "--agent", agent, "--workspace", str(stage.repository))
    return [str(stage.command), "acp", *own]


@asynccontextmanager
async def seated(stage: Stage, editor: Editor, *argv: str, **env: str) -> AsyncIterator[Any]:
    """Start the proxy for an editor that offers all that it has; give what speaks with the agent."""
    command, *rest = argv
    # The SDK kills after two seconds each; a busy machine takes longer to take the work out.
    kwargs = {"stderr": None, "shutdown_timeout": BOUND}
    async with acp.spawn_agent_process(
        editor, command, *rest, env=stage.environment | env, cwd=str(stage.root), transport_kwargs=kwargs
    ) as (agent, process):
        stage.pids.append(process.pid)
        files = acp.schema.FileSystemCapabilities(read_text_file=True, write_text_file=True)
        offered = acp.schema.ClientCapabilities(fs=files, terminal=True)
        await agent.initialize(protocol_version=1, client_capabilities=offered)
        yield agent


async def test_an_agent_of_an_editor_works_in_a_sandbox_and_its_work_comes_out_as_a_patch(engine_stage: Stage) -> None:
    stage, editor = engine_stage, Editor()
    async with seated(stage, editor, *words(stage)) as agent:
        with pytest.raises(acp.RequestError, match="open a folder in it"):
            await agent.new_session(cwd="/", mcp_servers=[])
        session = await agent.new_session(cwd=str(stage.repository), mcp_servers=[])
        out = json.dumps({"sessionId": session.session_id, "path": str(stage.root / "out.txt"), "content": "out"})
        script = f"[[init]][[write:made.txt|inside]][[ask:allow_once]][[request:fs/write_text_file|{out}]]"
        done = await agent.prompt(session_id=session.session_id, prompt=[acp.text_block(script)])
        assert done.stop_reason == "end_turn"
    for told in ('"terminal": false', '"writeTextFile": false', "chose opt-0", "fs/write_text_file -> -32601"):
        assert told in editor.said
    assert editor.wrote == [], "the editor was asked to write a file of this machine"
    assert not (stage.repository / "made.txt").exists(), "the agent worked on the folder itself"
    [patch] = stage.patches
    git(stage.repository, "apply", str(patch))
    assert (stage.repository / "made.txt").read_text() == "inside"
    assert on_engine(stage.pids) == []
    assert list(stage.runs.iterdir()) == []


@pytest.mark.real_agent
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["opencode", pytest.param("codex", marks=pytest.mark.long)])
async def test_a_real_agent_in_a_sandbox_reads_what_is_linked_to_and_loads_what_it_lists(
    engine_stage: Stage, kind: str
) -> None:
    stage, editor = engine_stage, Editor()
    (stage.repository / "note.txt").write_text("a note of the editor's")
    link = acp.resource_link_block("note.txt", f"file://{stage.repository}/note.txt")
    with ScriptedModel(port=0) as model:
        way = ("--model", "scripted", "--model-url", model.base_url, "--model-key", "env:MODEL_KEY")
        async with seated(stage, editor, *words(stage, kind), *way, MODEL_KEY="canary") as agent:
            opened = await agent.new_session(cwd=str(stage.repository), mcp_servers=[])
            session, script = opened.session_id, "[[shell:cp note.txt made.txt]][[text:All done.]]"
            done = await agent.prompt(session_id=session, prompt=[acp.text_block(script), link])
            assert (done.stop_reason, editor.said.endswith("All done.")) == ("end_turn", True)
            told = b"a note of the editor" if kind == "opencode" else b"file:///workspace/note.txt"
            assert told in model.requests[-1].body, "it was not led to the file"
            [listed] = (await agent.list_sessions(cwd=str(stage.repository))).sessions
            assert (listed.session_id, listed.cwd) == (session, str(stage.repository))
            await agent.load_session(cwd=listed.cwd, session_id=session, mcp_servers=[])
            editor.speaks.clear()
            running = asyncio.create_task(
                agent.prompt(session_id=session, prompt=[acp.text_block("[[stream:100000|20]]")])
            )
            async with asyncio.timeout(60):
                await editor.speaks.wait()
                await agent.cancel(session_id=session)
                assert (await running).stop_reason == "cancelled"
            if kind == "codex":
                await answers_codex(agent, session, editor)
    [patch] = stage.patches
    git(stage.repository, "apply", str(patch))
    assert (stage.repository / "made.txt").read_text() == "a note of the editor's"
    assert editor.wrote == []


@pytest.mark.real_agent
@pytest.mark.requirement("D10.57")
@pytest.mark.timeout(300)
async def test_a_real_agent_in_a_sandbox_leads_subagents_of_the_daemon(engine_stage: Stage) -> None:
    stage, editor = engine_stage, Editor()
    env = {"SUBAGENTS_CONFIG": str(stage.config), "MODEL_KEY": "canary"}
    begun = stage.popen([str(stage.command), "serve", "--unsafe-local"], env=env).end()
    assert begun.code == 0, begun.err
    socket = stage.root / "run" / "acp-subagents" / "daemon.sock"
    daemon = int(UnixClient(socket).hello()["pid"])
    given = {"purpose": "to look", "initial_task": "found it", "cwd": "/workspace", "agent_kind": "scripted"}
    script = call("subagents_spawn_background_subagent", **given) + call("subagents_wait_background_subagents")
    with ScriptedModel(port=0) as model:
        way = ("--model", "scripted", "--model-url", model.base_url, "--model-key", "env:MODEL_KEY")
        async with seated(stage, editor, *words(stage, "opencode"), *way, **env) as agent:
            opened = await agent.new_session(cwd=str(stage.repository), mcp_servers=[])
            prompt = [acp.text_block(f"{script}[[text:It said {{{{2}}}}.]]")]
            await agent.prompt(session_id=opened.session_id, prompt=prompt)
            assert "found it" in editor.said
            await agent.prompt(session_id=opened.session_id, prompt=[acp.text_block("[[text:Seen.]]")])
            assert b"<background-subagents>" in model.requests[-1].body
    os.kill(daemon, signal.SIGTERM)
    assert wait_for_end(daemon, BOUND)
    socket.with_suffix(".start").unlink()  # the lock of those who start one stays


async def answers_codex(agent: Any, session: str, editor: Editor) -> None:
    """Have it ask for a permission, which it does in its modes that have a sandbox of its own."""
    await agent.set_session_mode(session_id=session, mode_id="read-only")
    how = {"sandbox_permissions": "require_escalated", "justification": "to see who may"}
    script = call("exec_command", cmd="echo allowed > allowed.txt; cat allowed.txt", **how)
    await agent.prompt(session_id=session, prompt=[acp.text_block(f"{script}[[text:{{{{1}}}}]]")])
    assert len(editor.asked) == 1
    assert "allowed" in editor.said


def test_the_next_run_saves_the_work_of_a_sandbox_whose_proxy_was_killed(engine_stage: Stage) -> None:
    stage = engine_stage
    killed = stage.popen(words(stage), stdin=subprocess.PIPE)
    speak(killed, 1, "initialize", {"protocolVersion": 1, "clientCapabilities": {}})
    speak(killed, 2, "session/new", {"cwd": str(stage.repository), "mcpServers": []})
    said = map(json.loads, killed.until('"sessionId"', "out").said("out").splitlines())
    session = next(each["result"]["sessionId"] for each in said if each["id"] == 2)
    prompt = [{"type": "text", "text": "[[write:half.txt|half]][[hang]]"}]
    speak(killed, 3, "session/prompt", {"sessionId": session, "prompt": prompt})
    killed.until('"completed"', "out").signal(signal.SIGKILL)
    assert killed.end().code == -signal.SIGKILL
    killed.process.stdin.close()
    done = stage.run("[[say:next]]", local=False)
    assert "an earlier run was killed" in done.err
    [patch] = stage.patches
    assert str(patch) in done.err
    git(stage.repository, "apply", str(patch))
    assert (stage.repository / "half.txt").read_text() == "half"
    assert on_engine(stage.pids) == []


def speak(editor: Running, ident: int, method: str, params: dict[str, Any]) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params})
    editor.process.stdin.write(line.encode() + b"\n")
    editor.process.stdin.flush()
