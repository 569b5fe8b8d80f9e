"""A full disk under the store: nothing new is started, nothing that was seen is lost, and all goes on by itself."""

import asyncio
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.api.errors import DaemonError
from acp_runtime.cli.codes import Exit
from acp_runtime.clock import SystemClock
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.store.disk import LEAST_ROOM, StoreFull
from acp_runtime.store.store import Store
from tests.e2e.daemon_site import DaemonSite, daemon_site
from tests.faults.small_disk import MIB, SmallDisk, small_disk
from tests.integration.manager.conftest import BOUND, PARENT, SCRIPT, Ground, log_says, until
from tests.integration.store.conftest import dump
from tests.ledger import check_log

UPDATES = 3_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, 80 * MIB) as disk:
        yield disk


@pytest.fixture
def full(disk: SmallDisk) -> Ground:
    return Ground(disk.folder, SystemClock(), kinds={"scripted": AgentKind("scripted", (sys.executable, str(SCRIPT)))})


async def judge(ground: Ground) -> None:
    """Open the store again: each log is legal, and the projections follow from it."""
    async with Store.open(ground.path, SystemClock()) as store:
        for row in await store.query("SELECT id FROM subagent"):
            check_log([each.event for each in await store.events(row["id"], 0, None)])
        live = await dump(store)
        await store.rebuild()
        assert await dump(store) == live


@pytest.mark.requirement("D05.5")
async def test_a_disk_with_little_room_starts_nothing_new_and_lets_the_rest_go_on(
    disk: SmallDisk, full: Ground, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    async with full.runtime() as runtime:
        view = await runtime.spawn(PARENT, full.request(f"[[say:before]][[wait:{go}]][[say: after]]"))
        await until(runtime, view.id, lambda each: each.newest.result == "before")
        with disk.with_only(LEAST_ROOM - MIB):
            with pytest.raises(
                StoreFull, match=rf"the disk of the store {full.path} is full: [\d.]+ MiB are free, 32 MiB"
            ):
                await runtime.spawn(PARENT, full.request("x"))
            assert [each.id for each in await runtime.list_subagents(PARENT)] == [view.id], "it left a trace"
            assert (await runtime.disk(PARENT)).disk_free_bytes < LEAST_ROOM
            go.touch()
            view = await until(runtime, view.id, lambda each: each.newest.state.over)
            assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "before after")
            await runtime.send(PARENT, view.id, "[[say:a task more]]")
            view = await until(runtime, view.id, lambda each: len(each.tasks) == 2 and each.newest.state.over)
            async with runtime.turn(PARENT) as turn:
                assert len(turn.nudges) == 2
            assert (await runtime.poll(PARENT, view.id)).rows
            assert (await runtime.poll(PARENT, view.id)).rows == ()
        other = await runtime.spawn(PARENT, full.request("[[say:x]]"))
        await until(runtime, other.id, lambda each: each.newest.state.over)
    await judge(full)


@pytest.mark.requirement("D05.5")
async def test_a_disk_that_is_full_to_the_last_block_loses_nothing_and_heals_by_itself(
    disk: SmallDisk, full: Ground, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    async with full.runtime() as runtime:
        done = await runtime.spawn(PARENT, full.request("[[say:done]]"))
        await until(runtime, done.id, lambda each: each.newest.state.over)
        view = await runtime.spawn(PARENT, full.request(f"[[say:before]][[wait:{go}]][[updates:{UPDATES}]]"))
        await until(runtime, view.id, lambda each: each.newest.result == "before")
        with disk.with_only(0):
            with log_says("make room, the rest goes on by itself; trying again") as said:
                go.touch()
                await said.wait()
            with pytest.raises(StoreFull):
                await runtime.spawn(PARENT, full.request("x"))
            with pytest.raises(StoreFull, match=r"could not be written: .* \([\d.]+ MiB are free\); make room"):
                await runtime.send(PARENT, done.id, "x" * 500_000)
            # Behind what waits for room, too, nobody is left without an answer.
            with pytest.raises(StoreFull):
                await asyncio.wait_for(runtime.send(PARENT, view.id, "x"), BOUND)
            with pytest.raises(StoreFull):
                await asyncio.wait_for(runtime.stop(PARENT, view.id), BOUND)
            # What only reads works; what would have to be written down is shown again.
            assert {each.id for each in await runtime.list_subagents(PARENT)} == {done.id, view.id}
            assert (await runtime.status(PARENT, view.id)).status is Status.RUNNING
            page = await runtime.poll(PARENT, done.id)
            assert page.rows == (await runtime.poll(PARENT, done.id)).rows != ()
            assert [each.kind for each in await runtime.nudges(PARENT, state="pending")] == ["completed"]
            async with runtime.turn(PARENT) as turn:
                assert turn.nudges == ()
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert view.newest.state is TaskState.COMPLETED
        assert view.newest.result == "before" + "".join(f"{number}\n" for number in range(UPDATES))
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 2
        async with runtime.turn(PARENT) as turn:
            assert turn.nudges == ()
        other = await runtime.spawn(PARENT, full.request("[[say:x]]"))
        await until(runtime, other.id, lambda each: each.newest.state.over)
    await judge(full)


@pytest.fixture
def site(disk: SmallDisk) -> Iterator[DaemonSite]:
    with daemon_site(disk.folder) as site:
        yield site


async def spawn_over(site: DaemonSite) -> None:
    """Ask as a program would that has the facade over the daemon."""
    async with Runtime.connect(site.socket, start=False) as runtime:
        await runtime.spawn(PARENT, SpawnRequest(agent="scripted", workspace=site.workspace, task="x"))


@pytest.mark.requirement("D05.5")
def test_a_full_disk_is_said_by_every_verb_and_keeps_a_new_daemon_waiting_and_nothing_more(
    disk: SmallDisk, site: DaemonSite
) -> None:
    pid = site.serve()
    wanted = {"agent": "scripted", "workspace": str(site.workspace), "task": "[[say:x]]", "keep": True}
    with disk.with_only(10 * MIB):
        with pytest.raises(DaemonError, match=f"the disk of the store {site.store} is full") as caught:
            site.client.call("spawn", PARENT, request=wanted)
        assert caught.value.kind == "disk_full"
        with pytest.raises(StoreFull, match="MiB are needed to start something new"):
            asyncio.run(spawn_over(site))
        found = site.run("doctor")
        assert f"bad  disk           {site.state}: " in found.stdout
        assert "MiB free; nothing new is started, make room" in found.stdout
        assert "MiB free for the store: nothing new is started" in site.run("status").stdout
        alone = site.run("run", "--unsafe-local", "--agent", "scripted", "--workspace", str(site.workspace), "x")
        assert (alone.returncode, "MiB are needed to start something new" in alone.stderr) == (Exit.ENGINE, True)
        assert re.search(r"^disk free +\d{1,2}\.\d MiB$", site.run("df").stdout, re.MULTILINE)
    subagent = site.client.call("spawn", PARENT, request=wanted)["id"]
    site.client.call("wait", PARENT, subagents=[subagent], seconds=BOUND)
    with disk.with_only(0):
        site.end(pid, signal.SIGKILL)
        refused = site.run("serve", "--unsafe-local")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
        assert "MiB are free); make room" in refused.stderr
    site.serve()
    assert "completed" in [each["kind"] for each in site.client.call("nudges", PARENT, state="pending")]
