"""A permission that a leaf of an orchestrator asks for: the root of the tree is told once, and all above may answer."""

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.lineage import name_of
from acp_runtime.service import Runtime
from tests.e2e.daemon_site import BOUND, MODULE, SCRIPT, DaemonSite, daemon_site
from tests.e2e.test_answers import ask
from tests.e2e.test_mcp import ask as call
from tests.e2e.test_mcp import client_of, news, spawned
from tests.e2e.test_top import Terminal

pytestmark = pytest.mark.requirement("D10.55")

LEAF = "[[ask:allow_once,reject_once]]"
NUDGES = "SELECT parent, kind, state FROM nudge WHERE subagent = ?"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    """A user whose trees have two levels; `tooled` is the scripted agent with its tools."""
    with daemon_site(tmp_path_factory.mktemp("b", numbered=True)) as site:
        (site.workspace / ".git" / "info").mkdir(exist_ok=True)
        more = f"""
[agents.tooled]
argv = {json.dumps([sys.executable, str(SCRIPT.with_name("tooled_agent.py"))])}

[orchestration]
max_spawn_depth = 2

[presets.asks]
permissions = "ask"
"""
        site.config.write_text(f"{site.config.read_text()}{more}")
        site.serve()
        yield site


def leading() -> str:
    """Return the task of an orchestrator that spawns one leaf, which asks."""
    given = {"purpose": "the leaf", "initial_task": LEAF, "cwd": "/workspace", "one_shot": True}
    # The leaf's own directive must not end the orchestrator's.
    escaped = json.dumps(given).replace("[[", "\\u005b\\u005b").replace("]]", "\\u005d\\u005d")
    return f"[[tool:spawn_background_subagent|{escaped}]]"


async def asking(site: DaemonSite, leader: str) -> str:
    """Return the leaf once it asks and its leader has ended its turn."""
    async with asyncio.timeout(BOUND), Runtime.connect(site.socket) as runtime:
        while True:
            tick = runtime.tick
            views = {view.parent: view for view in await runtime.tree(OPERATOR, leader)}
            leaf = views.pop(name_of(leader), None)
            if leaf is not None and leaf.requests and all(view.current_task is None for view in views.values()):
                return leaf.id
            await runtime.changed(tick)


async def answered(site: DaemonSite, leaf: str) -> None:
    """Return once nothing is asked any more: a `wait` that begins before would end with the question."""
    async with asyncio.timeout(BOUND), Runtime.connect(site.socket) as runtime:
        while True:
            tick = runtime.tick
            if not (await runtime.status(OPERATOR, leaf)).requests:
                return
            await runtime.changed(tick)


def of_permissions(site: DaemonSite, leaf: str) -> list[Any]:
    """Return who is told of the question, and how that stands."""
    return [(parent, state) for parent, kind, state in site.look(NUDGES, leaf) if kind == "needs_permission"]


def lead(site: DaemonSite, parent: str) -> str:
    given = ("--agent", "tooled", "--workspace", str(site.workspace), "-q", "--permissions", "ask")
    return ask(site, "spawn", *given, "--role", "orchestrator", "--parent", parent, leading()).stdout.strip()


async def test_the_root_is_told_once_and_answers_by_mcp_and_the_leader_between_is_not_told(site: DaemonSite) -> None:
    async with client_of(site, "--parent", "root") as client:
        leader = await spawned(client, leading(), agent_kind="tooled", role="orchestrator", preset="asks")
        leaf = await asking(site, leader)
        assert {subagent for subagent, _ in await news(client)} == {leaf, leader}, "the turn of the leader has ended"
        assert await news(client) == []
        assert of_permissions(site, leaf) == [("root", "committed")]
        shown = await call(client, "get_background_subagent_status", id=leaf)
        (request,) = shown["requests"]
        chosen = request["options"][0]
        assert chosen["kind"] == "allow_once"
        given = {"id": leaf, "request_id": request["request_id"], "option_id": chosen["option_id"]}
        await call(client, "answer_background_subagent", **given)
        waited = await call(client, "wait_background_subagents", ids=[leaf])
        assert waited["subagents"][0]["result"]["text"] == "chose opt-0"
        waited = await call(client, "wait_background_subagents", ids=[leader])
        assert "chose opt-0" in waited["subagents"][0]["result"]["text"], "it was woken for the result"
        await call(client, "stop_background_subagent", id=leader)


def test_the_operator_answers_it_on_the_command_line_and_the_root_is_told_of_it_no_more(site: DaemonSite) -> None:
    leader = lead(site, "host")
    leaf = asyncio.run(asking(site, leader))
    assert of_permissions(site, leaf) == [("host", "pending")]
    assert f"subagents answer {leaf} opt-0" in ask(site, "show", leaf).stdout
    ask(site, "answer", leaf, "opt-0")
    ask(site, "wait", leaf, leader)
    assert "chose opt-0" in ask(site, "logs", leaf).stdout
    assert of_permissions(site, leaf) == [("host", "superseded")]
    ask(site, "stop", leader)


def below_its_leader(screen: str) -> bool:
    """Return whether the leaf stands below its leader; the columns become as wide as their words a moment later."""
    rows = pairwise(screen.splitlines())
    return any("tooled" in above and "└ " in below and "waiting" in below for above, below in rows)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no terminal multiplexer: tmux is not installed")
def test_the_operator_sees_the_leaf_below_its_leader_in_top_and_answers_it_by_a_key(
    site: DaemonSite, tmp_path: Path
) -> None:
    leader = lead(site, "editor")
    leaf = asyncio.run(asking(site, leader))
    terminal = Terminal(site, tmp_path, *MODULE, "top")
    try:
        terminal.shows(f"({leader})")
        terminal.until(below_its_leader)
        terminal.press("Down")
        terminal.shows(f"({leaf}) of subagent:{leader}: waiting", "asks:")
        terminal.press("a")
        terminal.shows("What ", ": allow_once", ": reject_once")
        terminal.press("Enter")
        asyncio.run(answered(site, leaf))
        ask(site, "wait", leaf, leader)
        assert "chose opt-0" in ask(site, "logs", leaf).stdout
        assert of_permissions(site, leaf) == [("editor", "superseded")]
    finally:
        terminal.close()
        ask(site, "stop", leader)
