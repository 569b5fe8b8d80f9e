"""The engine's verbs where their bounds and errors matter."""

import asyncio
import io
import secrets
import tarfile

import pytest

from sandbox.errors import EngineError, EngineRefused, EngineTimeout, ImageMissing, SandboxGone
from tests.docker.conftest import IDLE, TEST_LABELS
from tests.docker.recorder import BOUND

pytestmark = pytest.mark.docker


def archive(**files: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


@pytest.fixture
async def name(engine):
    """A name for an image, which is removed after the test."""
    name = f"acp-subagents-test/engine:{secrets.token_hex(4)}"
    yield name
    await engine.remove_image(name)


async def test_the_facts_are_those_of_the_engine(engine):
    assert engine.facts.os == "linux"
    assert engine.facts.architecture in {"amd64", "arm64"}
    assert engine.facts.cpus >= 1
    assert engine.facts.cgroup_version in {1, 2}
    assert engine.facts.root_dir.startswith("/")


@pytest.mark.parametrize("form", ["a file", "blocks"])
async def test_an_image_is_made_of_an_archive(engine, name, form):
    source = archive(hello=b"x" * 300_000)
    blocks = (source.read(1000) for _ in range(source.getbuffer().nbytes // 1000 + 1))
    await engine.import_image(source if form == "a file" else blocks, name, changes=["LABEL io.acp-subagents.test=1"])
    found = await engine.inspect_image(name)
    assert found["Config"]["Labels"] == {"io.acp-subagents.test": "1"}
    assert await engine.remove_image(name)
    assert await engine.inspect_image(name) is None
    assert not await engine.remove_image(name)


async def test_an_archive_that_is_none_makes_no_image(engine, name):
    with pytest.raises(EngineError):
        await engine.import_image(io.BytesIO(b"no tar" * 1000), name)
    assert await engine.inspect_image(name) is None


async def test_a_build_tells_its_steps_and_how_it_failed(engine, name, image):
    dockerfile = f"FROM {image}\nRUN echo one step\nRUN echo the reason; exit 3\n"
    lines: list[str] = []
    with pytest.raises(EngineRefused, match=r"the reason.*non-zero code: 3"):
        await engine.build_image(archive(Dockerfile=dockerfile.encode()), tag=name, on_line=lines.append)
    assert "Step 2/3 : RUN echo one step" in lines, "also when the engine has it from before"


async def test_what_the_listener_raises_ends_the_build(engine, name, image):
    def listen(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="Step 1"):
        await engine.build_image(archive(Dockerfile=f"FROM {image}".encode()), tag=name, on_line=listen)


async def test_a_cancelled_build_ends_at_once(engine, name, image):
    sleeping = asyncio.Event()
    dockerfile = f"FROM {image}\nRUN echo now; sleep 300\n"

    def listen(line: str) -> None:
        if line == "now":
            sleeping.set()

    building = asyncio.create_task(
        engine.build_image(archive(Dockerfile=dockerfile.encode()), tag=name, on_line=listen, labels=TEST_LABELS)
    )
    await asyncio.wait_for(sleeping.wait(), BOUND)
    building.cancel()
    async with asyncio.timeout(BOUND):
        with pytest.raises(asyncio.CancelledError):
            await building
        assert await engine.inspect_image(name) is None


async def test_an_image_no_registry_has_is_missing_or_cannot_be_asked_for(engine):
    """Where no registry can be reached the engine's own words say so."""
    with pytest.raises((ImageMissing, EngineError), match="pull the image localhost:1/none"):
        await engine.pull_image("localhost:1/none:1", lambda _: None, bound=BOUND)


async def test_a_call_over_its_bound_is_told_and_holds_no_thread(engine, sandbox):
    waits = [engine.wait_container(sandbox.id, bound=0.3) for _ in range(20)]
    for told in await asyncio.gather(*waits, return_exceptions=True):
        assert isinstance(told, EngineTimeout)
        assert "did not tell the end of the container" in str(told) or "in time" in str(told)
    assert (await engine.inspect_container(sandbox.id))["State"]["Running"]


async def test_many_calls_at_once_are_all_answered(engine, sandbox):
    found = await asyncio.gather(*(engine.inspect_container(sandbox.id) for _ in range(60)))
    assert {one["Id"] for one in found} == {sandbox.id}


async def test_what_is_gone_is_told_by_each_verb(engine):
    gone = "0" * 64
    for verb in (engine.inspect_container, engine.start_container, engine.logs):
        with pytest.raises(SandboxGone):
            await verb(gone)
    with pytest.raises(SandboxGone):
        await engine.create_exec(gone, IDLE, user="", cwd="/", env={})
    with pytest.raises(SandboxGone):
        await engine.inspect_exec(gone)
    assert not await engine.remove_container(gone)
    assert await engine.wait_container(gone, bound=BOUND) is None
    assert await engine.inspect_volume(gone) is None
    assert not await engine.remove_volume(gone)


async def test_things_are_found_by_their_labels(engine, make_sandbox, store):
    sandbox = await make_sandbox()
    labels = {"io.acp-subagents.store": store, "io.acp-subagents.subagent": "one"}
    assert [found["Id"] for found in await engine.containers(labels)] == [sandbox.id]
    volumes = {found["Name"] for found in await engine.volumes(labels)}
    assert volumes == {sandbox.spec.work_volume, sandbox.spec.home_volume}
    assert await engine.containers({**labels, "io.acp-subagents.subagent": "two"}) == []
