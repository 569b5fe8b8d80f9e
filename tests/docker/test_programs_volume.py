"""The volume with relay and holder: filled through the engine alone, once for all, and never used half full."""

import asyncio
import dataclasses
import hashlib
import io
import secrets
import shutil
import tarfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

import sandbox.programs
from sandbox import programs_volume, published_volume
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import EngineError, ProgramMissing
from sandbox.programs import ARCHITECTURES, PROGRAMS, program
from sandbox.programs_volume import HOLDER, PROGRAMS_MOUNT, RELAY, ProgramsVolume, ensure_programs
from sandbox.spec import VolumeMount

pytestmark = pytest.mark.docker


@pytest.fixture
async def volume(engine: Engine) -> AsyncIterator[ProgramsVolume]:
    """The programs of the package under a key of this test's own: nobody else fills or uses it."""
    own = dataclasses.replace(ProgramsVolume.of_package(engine), key=f"test-{secrets.token_hex(4)}")
    yield own
    for found in await engine.volumes({own.content_label: own.key}):
        await engine.remove_volume(found["Name"])
    await engine.remove_volume(own.pointer)
    assert await engine.containers({own.content_label: own.key}) == []


async def said(sandbox: Sandbox, script: str, user: str = "10001:10001") -> str:
    done = await sandbox.run(("sh", "-c", script), cwd="/", limit_bytes=10_000, timeout=30, user=user)
    return done.stdout.decode(errors="replace")  # a frame of the holder is no text


async def test_the_programs_are_in_it_as_they_were_built_and_run_in_any_image(engine, volume, image, make_sandbox):
    name = await volume.fill(image)
    assert await volume.published() == name
    sandbox = await make_sandbox(mounts=(VolumeMount(name, PROGRAMS_MOUNT),), work=False, home=False)
    for each in PROGRAMS:
        built = program(each, engine.facts.architecture).read_bytes()
        assert await said(sandbox, f"sha256sum {PROGRAMS_MOUNT}/{each}") == (
            f"{hashlib.sha256(built).hexdigest()}  {PROGRAMS_MOUNT}/{each}\n"
        )
    assert await said(sandbox, f"stat -c '%u:%g %a' {RELAY} {HOLDER} {PROGRAMS_MOUNT}") == "0:0 755\n" * 3
    assert "usage" in await said(sandbox, f"{RELAY} 2>&1")
    assert "settings_refused" in await said(sandbox, f"{HOLDER} run </dev/null", user="0:0")
    for user in ("0:0", "10001:10001"):
        assert await said(sandbox, f"touch {HOLDER} 2>/dev/null || echo refused", user) == "refused\n"


@pytest.mark.requirement("D08.8")
async def test_those_that_fill_at_once_agree_on_one_and_leave_nothing_else(engine, volume, image):
    engines = [await Engine.connect({}) for _ in range(3)]
    try:
        fills = [dataclasses.replace(volume, engine=each).fill(image) for each in (engine, *engines)]
        names = await asyncio.gather(*fills)
    finally:
        for each in engines:
            await each.close()
    assert set(names) == {await volume.published()}
    assert [found["Name"] for found in await engine.volumes({volume.content_label: volume.key})] == [names[0]]


async def test_one_that_a_killed_filler_left_is_never_used_and_goes(engine, volume, image):
    left = f"acp-subagents-programs-{volume.key}-half"
    await engine.create_volume(left, {volume.content_label: volume.key})
    assert await volume.published() is None
    assert await volume.fill(image) != left
    assert await engine.inspect_volume(left) is None


async def test_an_old_version_goes_with_a_newer_one_unless_something_uses_it(engine, image, make_sandbox, monkeypatch):
    class Own(ProgramsVolume):
        """Of a content of this test's own: nobody else fills it, and nothing of anybody else is old for it."""

        content = f"test-{secrets.token_hex(4)}"

    first, used, young, newest = (
        Own(engine=engine, key=key, programs=ProgramsVolume.of_package(engine).programs) for key in "1234"
    )
    try:
        old = await first.fill(image)
        name = await used.fill(image)
        sandbox = await make_sandbox(mounts=(VolumeMount(name, PROGRAMS_MOUNT),), work=False, home=False)
        await young.fill(image)
        assert [await each.published() for each in (first, used)] == [old, name]
        monkeypatch.setattr(published_volume, "OLD", timedelta(days=-1))
        await newest.fill(image)
        assert [bool(await each.published()) for each in (first, used, young, newest)] == [False, True, False, True]
        assert [await engine.inspect_volume(each) for each in (old, first.pointer)] == [None, None]
        await sandbox.remove()
        assert await first.fill(image) != old
        assert await used.published() is None
    finally:
        monkeypatch.undo()
        for each in await engine.volumes({first.content_label: None}):
            await engine.remove_volume(each["Name"])
        for each in (first, used, young, newest):
            await engine.remove_volume(each.pointer)


@pytest.mark.parametrize("comes_back_empty", [False, True])
async def test_one_that_was_pruned_is_filled_again(engine, volume, image, comes_back_empty):
    first = await volume.fill(image)
    await engine.remove_volume(first)
    if comes_back_empty:  # what the engine does when a container names a volume that is not there
        await engine.create_volume(first, {"io.acp-subagents.test": "1"})
    assert await volume.published() is None
    second = await volume.fill(image)
    assert second != first
    assert await volume.published() == second
    await engine.remove_volume(first)


def archive_of(programs: dict[str, bytes], mode: int = 0o755) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in programs.items():
            entry = tarfile.TarInfo(f"programs/{name}")
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


DAMAGES = {
    "one is missing": lambda programs: archive_of({"relay": programs["relay"]}),
    "one is short": lambda programs: archive_of({**programs, "holder": programs["holder"][:-1]}),
    "one is changed": lambda programs: archive_of({**programs, "relay": b"X" + programs["relay"][1:]}),
    "one is not executable": lambda programs: archive_of(programs, mode=0o644),
    "one is too many": lambda programs: archive_of({**programs, "other": b""}),
    "half": lambda programs: archive_of(programs)[:70_000],
    "nothing": lambda _: b"",
}


@pytest.mark.requirement("D08.8")
@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_does_not_come_back_as_it_was_given_is_not_published(engine, volume, image, monkeypatch, damage):
    async def get_archive(_engine: Engine, container: str, path: str, *, most: int) -> bytes:
        return DAMAGES[damage](volume.programs)

    monkeypatch.setattr(Engine, "get_archive", get_archive)
    with pytest.raises(ProgramMissing, match="try again"):
        await volume.fill(image)
    assert await volume.published() is None
    assert await engine.volumes({volume.content_label: volume.key}) == []


async def test_more_than_is_wanted_is_not_read_back(engine, volume, image, make_sandbox):
    name = await volume.fill(image)
    sandbox = await make_sandbox(mounts=(VolumeMount(name, PROGRAMS_MOUNT),), work=False, home=False)
    with pytest.raises(EngineError, match="more than 1000 bytes"):
        await engine.get_archive(sandbox.id, PROGRAMS_MOUNT, most=1000)


async def test_an_altered_program_never_reaches_the_engine(engine, image, tmp_path: Path, monkeypatch):
    shutil.copytree(Path(sandbox.programs.__file__).with_name("bin"), tmp_path / "bin")
    altered = tmp_path / "bin" / f"holder-{engine.facts.architecture}"
    altered.write_bytes(altered.read_bytes() + b"x")
    monkeypatch.setattr(
        programs_volume, "read_program", lambda *which: sandbox.programs.read_program(*which, tmp_path / "bin")
    )
    with pytest.raises(ProgramMissing, match=f"The holder {altered} is not the file that was built"):
        await ensure_programs(engine, image)


async def test_the_name_follows_from_what_is_in_it(engine, monkeypatch):
    names = {ProgramsVolume.of_package(engine).pointer}
    assert next(iter(names)).startswith(f"acp-subagents-programs-{engine.facts.architecture}-")
    names |= {dataclasses.replace(ProgramsVolume.of_package(engine)).pointer}
    assert len(names) == 1
    other = next(each for each in ARCHITECTURES if each != engine.facts.architecture)
    monkeypatch.setattr(engine, "facts", dataclasses.replace(engine.facts, architecture=other))
    assert ProgramsVolume.of_package(engine).pointer not in names
