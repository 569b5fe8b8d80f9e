"""What an engine did of which nobody was told: its answer came too late, or who had asked was killed meanwhile."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.core.model import TaskState
from sandbox.channel import ExecChannel
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import EngineRefused, EngineTimeout, SandboxGone
from sandbox.judgement import Action, Standing
from sandbox.ownership import Owner
from sandbox.reaper import Reaper
from sandbox.spec import LABEL
from tests.contract.conftest import Place, closure, place
from tests.contract.test_adoption import MANAGER, container, said
from tests.docker.conftest import TEST_LABELS
from tests.docker.proxies import Withheld, withholding
from tests.docker.recorder import BOUND, Recorder

__all__ = ["closure", "place"]

pytestmark = pytest.mark.docker

Creation = Callable[..., AbstractAsyncContextManager[tuple[Withheld, Engine]]]

# What is asked when an agent is started below its holder: its execution is prepared, then begun and told what to do.
PREPARED = re.compile(rb'/containers/\w+/exec .*holder", "run"', re.DOTALL)
TOLD = re.compile(rb"/exec/\w+/start .*journal=/journal/1\0", re.DOTALL)


@pytest.fixture
def engine_socket(engine: Engine) -> str:
    assert engine.endpoint.unix_path is not None
    return engine.endpoint.unix_path


@pytest.fixture
def creation_withheld(engine_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Creation:
    """Give an engine that does not answer the creation of one container, and is waited for as long as is said."""

    @asynccontextmanager
    async def creation(name: str, bound: float, *, answer: bool) -> AsyncIterator[tuple[Withheld, Engine]]:
        request, path = re.compile(rf"/containers/create\?name={name} ".encode()), tmp_path / "e.sock"
        async with withholding(path, engine_socket, request, answer=answer) as withheld:
            asked = await Engine.connect({"DOCKER_HOST": f"unix://{path}"})
            with monkeypatch.context() as patched:
                patched.setitem(Engine.create_container.__kwdefaults__, "bound", bound)
                yield withheld, asked
            await asked.close()

    return creation


@pytest.mark.requirement("D09.1")
@pytest.mark.parametrize("of", ["the sandbox", "its helper"])
async def test_a_container_that_was_made_though_nobody_waited_for_it_any_more_is_removed(
    engine, make_spec, creation_withheld, of
):
    spec = make_spec()
    name = spec.name if of == "the sandbox" else f"{spec.name}-owner"
    async with creation_withheld(name, 5.0, answer=True) as (withheld, asked):
        with pytest.raises(EngineTimeout, match=f"did not create the container {name} within"):
            await Sandbox.create(asked, spec)
        assert withheld.answered.is_set(), "the engine had made it"
    own = {f"{LABEL}store": spec.store}
    assert await engine.containers(own) == []
    assert await engine.volumes(own) == []


@pytest.mark.requirement("D09.1")
@pytest.mark.parametrize("by", ["the next try", "the reaper"])
async def test_a_container_that_is_made_after_all_was_undone_goes_later(engine, make_spec, creation_withheld, by):
    spec = make_spec(work=False, home=False)
    me = Owner.of_this_process(spec.store, 1)
    spec = replace(spec, labels={**TEST_LABELS, **me.labels()})
    async with creation_withheld(spec.name, 0.5, answer=False) as (withheld, asked):
        with pytest.raises(EngineTimeout):
            await Sandbox.create(asked, spec)
        with pytest.raises(SandboxGone):
            await engine.inspect_container(spec.name)
        withheld.let_go.set()
        async with asyncio.timeout(BOUND):
            await withheld.answered.wait()
    late = (await engine.inspect_container(spec.name))["Id"]
    if by == "the next try":
        made = await Sandbox.create(engine, spec)
        assert (made.id != late, (await made.fate()).state) == (True, "running")
        assert await made.remove()
        return

    async def log(_subagents: frozenset[str]) -> dict[str, Standing]:
        return {"one": Standing(None)}

    done = await Reaper(engine=engine, owner=replace(me, epoch=2), log=log).run()
    assert [each.action for each in done if each.id == late] == [Action.REMOVED]


@asynccontextmanager
async def killed_while_asking(
    place: Place, engine_socket: str, request: re.Pattern[bytes], *, answer: bool
) -> AsyncIterator[str]:
    """A subagent whose manager was killed while it waited for an answer of the engine."""
    path, other = place.root / "e.sock", json.dumps({"config": {"sockets": place.config.sockets}, "request": {}})
    argv = (sys.executable, str(MANAGER), str(place.root), place.config.base_image or "", "[[say:done]]", "", other)
    environ = {**os.environ, "DOCKER_HOST": f"unix://{path}"}
    async with withholding(path, engine_socket, request, answer=answer) as withheld:
        manager = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=environ)
        assert manager.stdout is not None
        try:
            async with asyncio.timeout(place.bound):
                subagent = (await manager.stdout.readline()).decode().strip()
                await (withheld.answered if answer else withheld.asked).wait()
        finally:
            with suppress(ProcessLookupError):
                manager.send_signal(signal.SIGKILL)
            await manager.wait()
    yield subagent


@pytest.mark.requirement("D08.5")
@pytest.mark.parametrize("place", ["docker"], indirect=True)
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        pytest.param(PREPARED, True, id="an execution that nobody began"),
        pytest.param(TOLD, False, id="a holder that was told nothing"),
        pytest.param(TOLD, True, id="an agent that nobody knows"),
    ],
)
async def test_a_start_that_was_cut_short_at_the_holder_is_begun_again_and_nothing_of_it_is_left(
    place: Place, engine_socket: str, request_: re.Pattern[bytes], answer: bool
):
    async with killed_while_asking(place, engine_socket, request_, answer=answer) as subagent:
        left = container(place)
        async with place.runtime() as runtime:
            view = await place.ended(runtime, subagent)
            assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 2), view.newest.cause
            assert await said(runtime, subagent) == "done"
            assert container(place) == view.container != left


async def test_an_execution_that_the_engine_does_not_know_is_told_as_gone(engine, sandbox):
    recorder = Recorder()
    channel = ExecChannel(engine, "0" * 64, ["true"], recorder)
    with pytest.raises(SandboxGone):
        await channel._begin()
    assert (await channel.exit_code(), await channel.pid(), recorder.reasons) == (None, None, [])


async def test_an_execution_that_was_begun_before_is_not_begun_again_and_goes_on_unharmed(engine, sandbox):
    ident = await engine.create_exec(sandbox.id, ("cat",), user="0:0", cwd="/", env={})
    recorder = Recorder()
    channel = ExecChannel(engine, ident, ["cat"], recorder)

    async def begin_again() -> None:
        """An engine refuses it at once, or opens a stream on which it says so."""
        second = Recorder()
        with suppress(EngineRefused):
            await ExecChannel(engine, ident, ["cat"], second)._begin()
            await second.closed()
        assert b"it goes on" not in second.stdout

    await channel._begin()
    await begin_again()
    await channel.send(b"it goes on")
    await channel.close_input()
    await recorder.closed()
    await begin_again()
    assert (bytes(recorder.stdout), await channel.exit_code()) == (b"it goes on", 0)
