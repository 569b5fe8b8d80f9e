"""An agent is taken up by another manager whatever became of the ways that its own manager had to it."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from acp_runtime.core.model import Order, TaskState
from acp_runtime.core.status import Status
from acp_runtime.core.transcript import Entry
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.launcher import LaunchError, LaunchRequest
from acp_runtime.manager.run_dir import SOCKET
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.session.observer import Observer
from acp_runtime.session.observer import Place as Offsets
from acp_runtime.session.session import AcpSession
from tests import engine
from tests.contract.conftest import PARENT, Place, label
from tests.contract.test_adoption import ANSWERED, container, inside, killed

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.requirement("D08.5"),
]

MODEL = "http://127.0.0.1:9/v1"
KEY = "ADOPTION_TEST_KEY"


def successor(place: Place, **config: object) -> None:
    """Have the managers to come configured otherwise."""
    changed = replace(place.config, **config)  # type: ignore[arg-type]
    place.config = changed
    place.make_launcher = lambda: DockerLauncher(changed, os.environ, labels=label(place.root))


@contextmanager
def at_the_first_word(logger: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something once one of our modules has a warning to tell."""

    class Ear(logging.Handler):
        told = False

        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the handler's signature
            told, self.told = self.told, True
            if not told:
                act()

    ear, heard = Ear(logging.WARNING), logging.getLogger(logger)
    heard.addHandler(ear)
    try:
        yield
    finally:
        heard.removeHandler(ear)


def ignored(*_: object) -> None:
    """Have nothing to do with it."""


async def unheard(_entries: tuple[Entry, ...], place: Offsets) -> int:
    return place.upto


OBSERVER = Observer(heard=unheard, asked=ignored, lost=ignored, closed=ignored)


async def test_a_result_is_taken_from_the_journal_though_the_way_to_the_model_went_with_the_container(
    place: Place,
) -> None:
    successor(place, sockets="exec")
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one", sockets="exec", model_url=MODEL)
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    engine.kill(container(place))
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause


async def test_an_agent_goes_on_though_the_key_of_its_model_is_not_there_any_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-test")
    task = "[[say:one]][[wait:go]][[say:two]]"
    subagent = await killed(place, task, "one", model_url=MODEL, model_key=f"env:{KEY}")
    monkeypatch.delenv(KEY)
    inside(place, "touch go")
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause


async def test_an_agent_is_adopted_once_the_runtime_dir_can_be_used_again(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    run, aside = place.root / "run", place.root / "aside"
    run.rename(aside)
    run.write_text("a file is in its place")

    def heal() -> None:
        run.unlink()
        aside.rename(run)

    with at_the_first_word("acp_runtime.manager", heal):
        async with place.runtime() as runtime:
            view = await place.ended(runtime, subagent)
            assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause


@pytest.mark.parametrize("first", ["adopt", "reap"])
async def test_an_engine_that_is_back_is_used_for_all_again(place: Place, first: str) -> None:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        pytest.skip("the engine is not on a unix socket")
    endpoint = place.root / "engine.sock"
    launcher = DockerLauncher(place.config, {**os.environ, "DOCKER_HOST": f"unix://{endpoint}"})
    launcher.own("aaaabbbb", 1, place.root / "other.db")
    kind, order = AgentKind("none", ("none",)), Order(agent="none", workspace=str(place.workspace))
    request = LaunchRequest("aaaabbbb", "bg-0000000001", 1, kind, order, place.root / "keep", str, "t" * 48)
    session = AcpSession(1, OBSERVER)
    try:
        with pytest.raises(LaunchError):
            await launcher.adopt(request, session, 0)
        endpoint.symlink_to(host.removeprefix("unix://"))
        if first == "adopt":
            assert await launcher.adopt(request, session, 0) is None
        else:
            assert not await launcher.reap(request)  # of the start that failed: it has waited once
        assert await launcher.reap(request)
        assert (await launcher.sweep(request)).confirmed
        assert await launcher.discard(request)
    finally:
        await launcher.close()


@pytest.mark.requirement("D09.4")
async def test_a_manager_that_wakes_up_in_the_middle_of_a_start_takes_nothing_from_the_next_ones_agent(
    place: Place,
) -> None:
    """It was stopped before it made anything; the next manager has started the same subagent meanwhile."""
    stale = place.make_launcher()
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[say:one]][[wait:go]][[say:two]]", model_url=MODEL))
        await place.until(runtime, view.id, lambda each: each.newest.result == "one")
        folder = next(path.parent for path in (place.root / "run").glob(f"*/{view.id}/{SOCKET}"))
        sockets = sorted(path for path in folder.rglob("*") if path.is_socket())
        stale.own(folder.parent.name, 0, place.root / "store" / "store.db")
        kind, order = AgentKind("scripted", ("true",)), Order(agent="scripted", workspace=str(place.workspace))
        request = LaunchRequest(folder.parent.name, view.id, 1, kind, order, place.root / "keep", str, "t" * 48)
        try:
            with pytest.raises(LaunchError) as refused:
                await stale.launch(request, AcpSession(0, OBSERVER))
        finally:
            await stale.close()
        assert refused.value.kind == "fenced"
        assert sorted(path for path in folder.rglob("*") if path.is_socket()) == sockets != []
        inside(place, "touch go")
        view = await place.ended(runtime, view.id)
        assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause


async def test_a_journal_that_could_not_be_read_at_first_is_read_later(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    engine.kill(container(place))
    with engine.client() as client:
        name = client.containers.get(container(place)).name
        # Where the sandbox that reads the journal is to be, there is somebody else's container.
        other = client.containers.create(place.config.base_image or "", "true", name=f"{name[:-2]}-journal-1")
        with at_the_first_word("acp_runtime.manager.docker_agent", other.remove):
            async with place.runtime() as runtime:
                view = await place.ended(runtime, subagent)
                assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause


@pytest.mark.parametrize("change", ["sockets", "runtime_dir", "moved", "wiped"])
async def test_a_living_agent_is_attached_to_though_the_way_to_its_holder_is_another_one_now(
    place: Place, change: str
) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one", model_url=MODEL)
    if change == "sockets":
        successor(place, sockets="exec")
    elif change == "runtime_dir":
        successor(place, runtime_dir=place.root / "other")
    elif change == "moved":
        (place.root / "run").rename(place.root / "aside")
    else:
        shutil.rmtree(place.root / "run")
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: each.status is not Status.LOST)
        assert (view.status, view.attempt) == (Status.RUNNING, 1), view.newest.cause
        inside(place, "touch go")
        view = await place.ended(runtime, subagent)
        assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause
    assert not (place.root / "other").exists() or not any((place.root / "other").iterdir())


async def test_a_living_agent_whose_holder_cannot_be_reached_is_waited_for(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    sockets = ("/run/holder.sock", "/run/holder/holder.sock")
    inside(place, "; ".join(f"mv {each} {each}.aside" for each in sockets), user="0")

    def heal() -> None:
        inside(place, "; ".join(f"mv {each}.aside {each}" for each in sockets), user="0")

    with at_the_first_word("acp_runtime.manager.docker_agent", heal):
        async with place.runtime() as runtime:
            view = await place.ended(runtime, subagent)
            assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause


async def test_an_agent_that_was_started_over_the_engine_is_attached_to_where_sockets_are_shared(place: Place) -> None:
    task = "[[say:one]][[wait:go]][[say:two]]"
    subagent = await killed(place, task, "one", sockets="exec", model_url=MODEL)
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: each.status is not Status.LOST)
        inside(place, "touch go")
        view = await place.ended(runtime, subagent)
        assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause
