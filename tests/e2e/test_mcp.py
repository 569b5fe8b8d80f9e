"""`subagents mcp` as clients start it: the SDK's client, a daemon of its own, agents that are local processes."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from acp_runtime.callers import OPERATOR
from acp_runtime.core.roster import parse_block
from tests.e2e.daemon_site import BOUND, MODULE, DaemonSite, daemon_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    """A site without a daemon; none is started."""
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        yield site


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    """A site whose daemon runs. Parents have nothing to do with each other."""
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        site.serve()
        yield site


@asynccontextmanager
async def client_of(site: DaemonSite, *argv: str) -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=MODULE[0], args=[*MODULE[1:], "mcp", *argv], env=site.env, cwd=str(site.workspace)
    )
    async with asyncio.timeout(BOUND), Client(command, cache=None) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def spawned(client: Client, task: str, **more: Any) -> str:
    given = {"purpose": "a test", "initial_task": task, "cwd": "/workspace", "agent_kind": "scripted", **more}
    return str((await ask(client, "spawn_background_subagent", **given))["id"])


async def told(client: Client) -> list[str]:
    """Return of whose tasks a look around tells. That an agent was started again with its daemon is told any time."""
    return [subagent for subagent, headline in await news(client) if headline == "completed"]


async def news(client: Client) -> list[tuple[str, str]]:
    """Return all that a look around tells: of whom, and what."""
    block = parse_block((await ask(client, "list_background_subagents")).get("background_subagents", ""))
    return [] if block is None else [(each.subagent, each.headline) for each in block.nudges]


async def ended(site: DaemonSite, ident: str) -> None:
    """Wait for the end of its tasks without their parent hearing of it."""
    await asyncio.to_thread(site.client.call, "wait", OPERATOR, subagents=[ident], seconds=BOUND)


def states(site: DaemonSite, ident: str) -> list[str]:
    """Return how the nudges of its tasks stand, the oldest first."""
    sql = "SELECT state FROM nudge WHERE subagent = ? AND kind = 'completed' ORDER BY created_seq"
    return [each for (each,) in site.look(sql, ident)]


@pytest.mark.requirement("D10.40")
async def test_a_client_spawns_and_collects_an_agent_over_standard_input_and_output(served: DaemonSite) -> None:
    async with client_of(served, "--tools", "background,async_delegation") as client:
        assert client.server_info.name == "subagents"
        assert {"wait_background_subagents", "collect_task"} <= {
            each.name for each in (await client.list_tools()).tools
        }
        ident = await spawned(client, "[[say:hello]]")
        waited = await ask(client, "wait_background_subagents", ids=[ident])
        assert waited["subagents"][0]["result"]["text"] == "hello"


@pytest.mark.requirement("D10.41")
async def test_a_daemon_that_is_replaced_meanwhile_loses_no_nudge_and_repeats_none(served: DaemonSite) -> None:
    async with client_of(served) as client:
        ident = await spawned(client, "[[say:hello]]")
        await ended(served, ident)
        assert await told(client) == [ident]
        await asyncio.to_thread(served.client.call, "send", OPERATOR, subagent=ident, text="[[say:again]]")
        await ended(served, ident)
        assert states(served, ident) == ["claimed", "pending"]
        assert await asyncio.to_thread(served.serve, "--replace")
        assert await told(client) == [ident]
        assert states(served, ident) == ["committed", "claimed"]
        assert await told(client) == []
        assert states(served, ident) == ["committed", "committed"]


@pytest.mark.requirement("D10.43")
async def test_two_clients_of_one_repository_with_one_configuration_hear_of_their_own_only(served: DaemonSite) -> None:
    async with client_of(served, "--client", "claude") as one, client_of(served, "--client", "claude") as two:
        idents = [await spawned(client, "[[say:hello]]") for client in (one, two)]
        for ident in idents:
            await ended(served, ident)
        assert [await told(client) for client in (one, two)] == [[ident] for ident in idents]
        seen = await two.call_tool("get_background_subagent_status", {"id": idents[0]})
        assert seen.structured_content["kind"] == "unknown_subagent"


@pytest.mark.requirement("D10.43")
async def test_a_session_whose_host_says_its_id_with_each_call_is_the_same_parent_again(served: DaemonSite) -> None:
    def meta(session: str) -> Any:
        return {"x-codex-turn-metadata": {"session_id": session, "turn_id": "t1"}}

    given = {"purpose": "a test", "initial_task": "[[say:hello]]", "cwd": "/workspace", "agent_kind": "scripted"}
    async with client_of(served, "--client", "codex") as client:
        started = await client.call_tool("spawn_background_subagent", given, meta=meta("s1"))
        ident = started.structured_content["id"]
        await ended(served, ident)
    for session, known in (("s2", False), ("s1", True)):
        async with client_of(served, "--client", "codex") as client:
            seen = await client.call_tool("get_background_subagent_status", {"id": ident}, meta=meta(session))
            assert seen.is_error is not known, served.look("SELECT * FROM alias") + served.look(
                "SELECT id, parent FROM subagent"
            )
            await client.call_tool("list_background_subagents", meta=meta("another"))
            again = await client.call_tool("get_background_subagent_status", {"id": ident}, meta=meta("another"))
            assert again.is_error is not known, "the first session that was told is the one"


@pytest.mark.requirement("D10.43", "D10.41")
async def test_a_parent_that_is_adopted_by_its_name_is_told_what_its_last_session_did_not_hear(
    served: DaemonSite,
) -> None:
    async with client_of(served, "--parent", "mine") as client:
        ident = await spawned(client, "[[say:hello]]")
        await ended(served, ident)
    async with client_of(served, "--parent", "mine") as client:
        assert await told(client) == [ident]
        assert await told(client) == []
    assert states(served, ident) == ["committed"]


@pytest.mark.requirement("D10.41")
async def test_what_was_told_at_one_door_is_not_told_at_another_while_it_is_held(served: DaemonSite) -> None:
    async with client_of(served, "--parent", "mine") as client:
        ident = await spawned(client, "[[say:hello]]")
        await ended(served, ident)
        assert await told(client) == [ident]
        hook = await asyncio.to_thread(served.run, "turn", "--parent", "mine", "--door", "hook")
        assert "completed" not in hook.stdout
        assert await told(client) == []
    assert states(served, ident) == ["committed"]


@pytest.mark.requirement("D10.42")
async def test_a_client_that_only_looks_at_the_tools_starts_no_daemon(site: DaemonSite) -> None:
    async with client_of(site) as client:
        await client.list_tools()
    assert not site.socket.exists()


@pytest.mark.requirement("D10.42")
@pytest.mark.parametrize("how", ["it closes standard input", "it says to end"])
def test_the_process_ends_with_its_client(site: DaemonSite, how: str) -> None:
    process = site.popen(*MODULE, "mcp", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"no message\n")
    process.stdin.flush()
    assert b'"id":null' in process.stdout.readline()
    if how == "it closes standard input":
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND) == 0
    assert process.stdout.read() == b""


@pytest.mark.requirement("D10.42")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "standard input is no pipe"),
        (("--tools", "all"), "there is no tool set 'all'; there are: background, async_delegation"),
        (("--client", "A B"), "'A B' is no name for a client"),
        (("--client", "subagent"), "'subagent' is no name for a client"),
        (("--parent", "operator"), "is no name for a parent"),
        (("--workspace", "/nowhere"), "the workspace /nowhere is no folder"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_sentence(site: DaemonSite, argv: tuple[str, ...], said: str) -> None:
    empty = site.root / "empty"
    empty.touch()
    with empty.open("rb") as given:
        process = site.popen(*MODULE, "mcp", *argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        put, told = process.communicate(timeout=BOUND)
    assert (process.returncode, put) == (2, b"")
    assert said in told.decode()
    assert told.count(b"\n") == 1
