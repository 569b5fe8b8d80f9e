"""The work of an agent is taken out once, whole, and is not written over from what a removal left."""

import asyncio
import os
from typing import Any

import pytest

from acp_runtime.core.model import Limits, Order
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.launcher import Ended, LaunchRequest
from acp_runtime.manager.work import note_removal, read_work
from acp_runtime.session.catalogue import AgentKind
from sandbox.spec import LABEL
from tests import engine
from tests.contract.conftest import PARENT, Place, label, mark

pytestmark = [
    pytest.mark.docker,
    pytest.mark.requirement("D08.13"),
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.parametrize("gone", ["work", "base"]),
]


def take_away(place: Place, volume: str) -> str:
    """Remove the agent's container and one of its volumes; return the id of the store that they are of."""
    mine = f"{LABEL}test={mark(place.root)}"
    engine.remove_containers(engine.containers(mine))
    found = engine.volumes(mine)
    engine.remove_volumes([name for name in found if name.endswith(f"-{volume}")])
    return found[0].split("-")[1]


async def test_a_volume_that_somebody_took_away_is_told_and_costs_nothing_that_was_written_before(
    place: Place, gone: str
) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:new.txt|made here]]", limits=Limits(restarts=0))
        await runtime.check(PARENT, view.id, "true", seconds=30)
        before = await runtime.work(PARENT, view.id)
        await runtime.send(PARENT, view.id, "[[write:later.txt|made later]]")
        await place.ended(runtime, view.id)
        await asyncio.to_thread(take_away, place, gone)
        view = await place.until(runtime, view.id, lambda each: not each.exported)
        assert view.status is Status.ERROR
        assert await runtime.work(PARENT, view.id) == before is not None
    await asyncio.to_thread(remove_rest, place)


async def test_a_removal_that_was_cut_short_is_finished_and_the_work_stays_as_it_was_written(
    place: Place, gone: str
) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:new.txt|made here]]", keep=True)
        await runtime.stop(PARENT, view.id, finished=True)
        before = await runtime.work(PARENT, view.id)
    store = await asyncio.to_thread(take_away, place, gone)
    keep = next(place.root.glob("**/*.patch")).parent
    note_removal(keep, view.id, view.attempt)
    assert await swept(place, store, subagent=view.id, keep=keep) == Ended(confirmed=True, exported=True)
    assert read_work(keep, view.id) == before is not None
    assert sorted(path.suffix for path in keep.iterdir()) == [".json", ".patch"]


async def swept(place: Place, store: str, **fields: Any) -> Ended:
    """Have the manager after the one before take up what is left of an agent."""
    launcher = DockerLauncher(place.config, os.environ, labels=label(place.root))
    launcher.own(store, 9, place.root / "other.db")
    request = LaunchRequest(
        store=store,
        attempt=1,
        kind=AgentKind("scripted", ()),
        order=Order(agent="scripted", workspace=str(place.workspace)),
        progress=lambda _: None,
        token="",
        **fields,
    )
    try:
        return await launcher.sweep(request)
    finally:
        await launcher.close()


def remove_rest(place: Place) -> None:
    engine.remove_volumes(engine.volumes(f"{LABEL}test={mark(place.root)}"))
