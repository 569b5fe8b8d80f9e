"""The images on a real engine. Most tests use a small recipe over the closure image: its agent is a shell script."""

import asyncio
import dataclasses
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import docker
import pytest

from sandbox import images
from sandbox.agents_volume import AGENTS_MOUNT, AgentsVolume
from sandbox.engine import Engine
from sandbox.errors import EngineRefused, ImageMissing
from sandbox.image_recipe import Recipe, load_recipe
from sandbox.images import ensure_agents, ensure_base
from tests.docker.closure import closure_image
from tests.docker.registry import registry

pytestmark = pytest.mark.docker

REPO = Path(__file__).parents[2]
NOWHERE = Path("/nonexistent")
CONTENT_LABEL = "io.acp-subagents.agents"
BASE = """
ARG ROOTFS
FROM ${ROOTFS}
LABEL io.acp-subagents.test=1 nonce=NONCE
COPY certs/ /certs/
"""
AGENTS = r"""
ARG BASE
FROM ${BASE} AS fetch
LABEL nonce=NONCE
ARG VERSIONS
RUN mkdir /agents; cd /agents; \
    printf 'echo "%s"\n' "$VERSIONS" > versions; \
    head -c 20000000 /dev/zero > padding
FROM scratch
LABEL io.acp-subagents.test=1 nonce=NONCE
COPY --from=fetch /agents /agents
"""
PROOF = ("sh", f"{AGENTS_MOUNT}/versions")
ENSURE = """
import asyncio, os, pathlib, sys
from sandbox.engine import Engine
from sandbox.image_recipe import load_recipe
from sandbox.images import ensure_agents
async def main():
    engine = await Engine.connect(os.environ)
    recipe = load_recipe(pathlib.Path(sys.argv[1]), pathlib.Path("/nonexistent"))
    print(await ensure_agents(engine, lambda said: print(said, file=sys.stderr, flush=True), recipe=recipe))
    await engine.close()
asyncio.run(main())
"""


@pytest.fixture
async def folder(tmp_path: Path, engine: Engine) -> AsyncIterator[Path]:
    """A recipe of its own for each test; what was made of it is removed."""
    nonce = secrets.token_hex(6)
    folder = tmp_path / "images"
    shutil.copytree(REPO / "images", folder, ignore=shutil.ignore_patterns("certs"))
    toml = folder / "images.toml"
    changed = toml.read_text().replace("debian:trixie-slim", closure_image()).replace('"trixie"', '"nosuch"')
    toml.write_text(changed)
    for name, text in (("base", BASE), ("agents", AGENTS)):
        (folder / name / "Dockerfile").write_text(text.replace("NONCE", nonce))
    recipe = load_recipe(folder, NOWHERE)
    yield folder
    await clean(engine, [recipe, load_recipe(folder, NOWHERE)])
    await asyncio.to_thread(remove_untagged, nonce)


@pytest.fixture
def recipe(folder: Path) -> Recipe:
    return load_recipe(folder, NOWHERE)


async def clean(engine: Engine, recipes: list[Recipe]) -> None:
    for recipe in recipes:
        architecture = engine.facts.architecture
        key = recipe.agents_key(architecture)
        for container in await engine.containers({CONTENT_LABEL: key}):
            await engine.remove_container(container["Id"])
        for volume in await engine.volumes({CONTENT_LABEL: key}):
            await engine.remove_volume(volume["Name"])
        await engine.remove_volume(volume_of(engine, recipe).pointer)
        made = (f"acp-subagents/agents:{key}", f"acp-subagents/agents-fetch:{key}", recipe.base_name(architecture))
        for name in made:
            await engine.remove_image(name)


def remove_untagged(nonce: str) -> None:
    """Remove what failed, killed and overtaken builds leave: stages without a name."""
    client = docker.from_env(timeout=30)
    try:
        for image in client.images.list(filters={"dangling": True, "label": f"nonce={nonce}"}):
            client.images.remove(image.id, force=True)
    finally:
        client.close()


def volume_of(engine: Engine, recipe: Recipe) -> AgentsVolume:
    architecture = engine.facts.architecture
    return AgentsVolume(
        engine=engine,
        key=recipe.agents_key(architecture),
        versions=recipe.versions(architecture),
    )


def versions(engine: Engine) -> str:
    return load_recipe().versions(engine.facts.architecture)


async def run(engine: Engine, image: str, *argv: str, volume: str = "") -> tuple[int | None, str]:
    """Run a program the way an agent runs: no network, no capability, nothing writable but /tmp."""
    mounts = [{"Type": "volume", "Source": volume, "Target": AGENTS_MOUNT, "ReadOnly": True}] if volume else []
    host = {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    host |= {"init": True, "tmpfs": {"/tmp": "mode=1777,exec"}, "mounts": mounts}
    settings = {"image": image, "command": list(argv), "user": "10001:10001", "environment": {"HOME": "/tmp"}}
    settings |= {"labels": {"io.acp-subagents.test": "1"}, "host_config": host}
    container = await engine.create_container(f"test-images-{secrets.token_hex(6)}", settings)
    try:
        await engine.start_container(container)
        code = await engine.wait_container(container, bound=60)
        return code, (await engine.logs(container)).decode().strip()
    finally:
        await engine.remove_container(container)


async def program(*argv: str, environ: Mapping[str, str] = os.environ) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, *argv, cwd=REPO, env=environ, stdout=pipe, stderr=pipe)


async def another_process(folder: Path) -> asyncio.subprocess.Process:
    return await program("-c", ENSURE, str(folder))


async def the_command(environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await program("-m", "sandbox.images", environ=environ)


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(100):
        out, told = await process.communicate()
    return process.returncode, out.decode().strip(), told.decode()


async def test_the_images_are_made_once_and_each_slow_step_is_announced_before(engine: Engine, recipe: Recipe):
    said: list[str] = []
    base = await ensure_base(engine, said.append, recipe=recipe)
    volume = await ensure_agents(engine, said.append, recipe=recipe)
    assert [line.split(":")[0] for line in said] == [
        "Building the base image",
        "Building the agents image",
        "Filling the agents volume",
    ]
    assert all("about" in line for line in said)
    assert await run(engine, base, *PROOF, volume=volume) == (0, versions(engine))
    again: list[str] = []
    assert await ensure_base(engine, again.append, recipe=recipe) == base
    assert await ensure_agents(engine, again.append, recipe=recipe) == volume
    assert again == []


async def test_no_stage_of_the_build_and_no_container_stays(engine: Engine, recipe: Recipe):
    volume = await ensure_agents(engine, [].append, recipe=recipe)
    key = recipe.agents_key(engine.facts.architecture)
    assert await engine.inspect_image(f"acp-subagents/agents-fetch:{key}") is None
    assert await engine.containers({CONTENT_LABEL: key}) == []
    assert [found["Name"] for found in await engine.volumes({CONTENT_LABEL: key})] == [volume]


async def test_a_changed_file_is_built_anew_under_another_name(engine: Engine, folder: Path, recipe: Recipe):
    before = await ensure_base(engine, [].append, recipe=recipe)
    with (folder / "base" / "Dockerfile").open("a") as file:
        file.write("RUN echo changed > /changed\n")
    after = await ensure_base(engine, [].append, recipe=load_recipe(folder, NOWHERE))
    assert after != before
    assert await run(engine, after, "cat", "/changed") == (0, "changed")
    await engine.remove_image(before)


async def test_a_certificate_of_the_host_changes_the_name_and_is_in_the_image(
    engine: Engine, folder: Path, recipe: Recipe, tmp_path: Path
):
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "company.crt").write_text("a certificate")
    with_it = load_recipe(folder, tmp_path / "host")
    name = await ensure_base(engine, [].append, recipe=with_it)
    try:
        assert name != recipe.base_name(engine.facts.architecture)
        assert await run(engine, name, "sh", "-c", "cat /certs/*.crt") == (0, "a certificate")
    finally:
        await engine.remove_image(name)


async def test_two_processes_at_once_agree_on_one_filled_volume(engine: Engine, folder: Path, recipe: Recipe):
    processes = [await another_process(folder) for _ in range(2)]
    results = await asyncio.gather(*(ended(process) for process in processes))
    assert [code for code, _, _ in results] == [0, 0], results
    assert {out for _, out, _ in results} == {await volume_of(engine, recipe).published()}
    key = recipe.agents_key(engine.facts.architecture)
    assert len(await engine.volumes({CONTENT_LABEL: key})) == 1


async def test_two_fillers_that_reach_the_end_together_publish_one_volume(engine: Engine, recipe: Recipe):
    base = await ensure_base(engine, [].append, recipe=recipe)
    await ensure_agents(engine, [].append, recipe=recipe)
    volume = volume_of(engine, recipe)
    await engine.remove_volume(volume.pointer)
    fills = [volume.fill(f"acp-subagents/agents:{volume.key}", base) for _ in range(4)]
    names = await asyncio.gather(*fills)
    assert set(names) == {await volume.published()}
    assert [found["Name"] for found in await engine.volumes({CONTENT_LABEL: volume.key})] == [names[0]]


async def test_a_volume_that_a_killed_filler_left_half_full_is_never_used_and_goes(engine: Engine, recipe: Recipe):
    volume = volume_of(engine, recipe)
    left = f"acp-subagents-agents-{volume.key}-half"
    await engine.create_volume(left, {CONTENT_LABEL: volume.key})
    assert await volume.published() is None
    name = await ensure_agents(engine, [].append, recipe=recipe)
    assert name != left
    assert await engine.inspect_volume(left) is None


async def test_after_a_filler_was_killed_the_next_one_fills_and_proves(engine: Engine, folder: Path, recipe: Recipe):
    process = await another_process(folder)
    async with asyncio.timeout(100):
        while not (line := await process.stderr.readline()).startswith(b"Filling"):
            assert line
    process.send_signal(signal.SIGKILL)
    await ended(process)
    name = await ensure_agents(engine, [].append, recipe=recipe)
    base = recipe.base_name(engine.facts.architecture)
    assert (await run(engine, base, *PROOF, volume=name))[0] == 0
    assert await volume_of(engine, recipe).published() == name


@pytest.mark.parametrize("comes_back_empty", [False, True])
async def test_a_volume_that_was_pruned_is_filled_again(engine: Engine, recipe: Recipe, comes_back_empty: bool):
    first = await ensure_agents(engine, [].append, recipe=recipe)
    await engine.remove_volume(first)
    if comes_back_empty:  # what the engine does when a container names a volume that is not there
        await engine.create_volume(first, {"io.acp-subagents.test": "1"})
    second = await ensure_agents(engine, [].append, recipe=recipe)
    assert second != first
    base = recipe.base_name(engine.facts.architecture)
    assert (await run(engine, base, *PROOF, volume=second))[0] == 0
    await engine.remove_volume(first)


async def test_a_volume_whose_programs_do_not_say_their_versions_is_not_published(engine: Engine, folder: Path):
    file = folder / "agents" / "Dockerfile"
    file.write_text(file.read_text().replace('echo "%s"', 'echo broken; exit 3; "%s"'))
    recipe = load_recipe(folder, NOWHERE)
    told = f"said 'broken' with exit code 3 instead of {' / '.join(versions(engine).splitlines())}; free disk space"
    with pytest.raises(ImageMissing, match=re.escape(told)):
        await ensure_agents(engine, [].append, recipe=recipe)
    volume = volume_of(engine, recipe)
    assert await volume.published() is None
    assert await engine.volumes({CONTENT_LABEL: volume.key}) == []
    assert await engine.containers({CONTENT_LABEL: volume.key}) == []


async def test_a_build_step_that_fails_is_told_with_its_last_words(engine: Engine, folder: Path):
    with (folder / "base" / "Dockerfile").open("a") as file:
        file.write("RUN echo no such mirror; exit 7\n")
    recipe = load_recipe(folder, NOWHERE)
    with pytest.raises(ImageMissing, match=r"could not be built: .*no such mirror.*code: 7.*; mend that and try again"):
        await ensure_base(engine, [].append, recipe=recipe)
    assert await engine.inspect_image(recipe.base_name(engine.facts.architecture)) is None


async def test_a_build_that_fails_because_another_process_was_faster_is_no_failure(engine: Engine, recipe: Recipe):
    base = await ensure_base(engine, [].append, recipe=recipe)

    async def refused() -> None:
        raise EngineRefused("No such image: sha256:1 (status 404).", 404)

    await images._build(engine, base, refused)
    with pytest.raises(ImageMissing, match="No such image: sha256:1"):
        await images._build(engine, f"{base}-other", refused)


async def test_the_base_is_pulled_where_a_registry_answers(engine: Engine, recipe: Recipe):
    said: list[str] = []
    with registry({"etc/from-the-registry": b"yes"}, engine.facts.architecture) as host:
        recipe = dataclasses.replace(recipe, rootfs_image=f"{host}/debian:trixie-slim")
        name = await ensure_base(engine, said.append, recipe=recipe)
    try:
        pulled, built = await engine.inspect_image(recipe.rootfs_image), await engine.inspect_image(name)
        assert built["RootFS"]["Layers"][0] == pulled["RootFS"]["Layers"][0]
        assert [line.split()[0] for line in said] == ["Pulling", "Building"]
        assert "about 30 MB" in said[0]
    finally:
        await engine.remove_image(name)
        await engine.remove_image(recipe.rootfs_image)


async def test_without_a_registry_and_without_root_the_base_is_missing_with_the_remedy(
    engine: Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    recipe = dataclasses.replace(recipe, rootfs_image="127.0.0.1:1/debian:trixie-slim")
    with pytest.raises(ImageMissing) as caught:
        await ensure_base(engine, [].append, recipe=recipe)
    sentence = str(caught.value)
    assert "127.0.0.1:1/debian:trixie-slim is not on the engine, could not be pulled (" in sentence
    assert "connection refused" in sentence
    assert "needs root; load that image, or run `make images` once as root on Debian or Ubuntu." in sentence
    assert sentence.count("\n") == 0


async def test_an_engine_of_another_architecture_is_told_which_ones_there_are(engine: Engine, recipe: Recipe):
    other = Engine(engine._client, dataclasses.replace(engine.facts, architecture="riscv64"))
    for ensure in (ensure_base, ensure_agents):
        with pytest.raises(ImageMissing, match="runs on riscv64, for which there are no agents; use one on amd64 or"):
            await ensure(other, [].append, recipe=recipe)


@pytest.fixture
async def real(engine: Engine) -> tuple[str, str]:
    """The real images; built by the first test that asks, where that is possible."""
    try:
        return await ensure_base(engine, print), await ensure_agents(engine, print)
    except ImageMissing as error:
        if os.geteuid() != 0 and "needs root" in str(error):
            pytest.skip(f"needs root: {error}")
        raise


@pytest.mark.real_agent
@pytest.mark.timeout(1500)
async def test_the_agents_run_hardened_in_the_base_and_in_an_image_of_another_release(
    engine: Engine, real: tuple[str, str]
):
    base, volume = real
    for image in (base, closure_image()):
        assert await run(engine, image, *PROOF, volume=volume) == (0, versions(engine))
        code, said = await run(engine, image, "sh", "-c", f"touch {AGENTS_MOUNT}/x", volume=volume)
        assert code != 0
        assert "Read-only file system" in said


@pytest.mark.real_agent
@pytest.mark.timeout(1500)
async def test_the_base_has_what_an_agent_works_with_and_no_compiler(engine: Engine, real: tuple[str, str]):
    tools = "git --version && rg --version && python3 --version && curl --version && ps --version && id -un"
    code, said = await run(engine, real[0], "sh", "-ec", tools)
    assert (code, said.splitlines()[-1]) == (0, "agent"), said
    assert (await run(engine, real[0], "sh", "-c", "command -v gcc node npm pip sudo"))[1] == ""


@pytest.mark.real_agent
@pytest.mark.timeout(1500)
async def test_the_command_prints_the_names_and_nothing_else_on_standard_output(real: tuple[str, str]):
    assert await ended(await the_command(os.environ)) == (0, "\n".join(real), "")


async def test_the_command_without_an_engine_says_so_and_ends_with_69(tmp_path: Path):
    process = await the_command({**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    code, out, told = await ended(process)
    assert (code, out) == (69, "")
    assert f"{tmp_path}/none.sock" in told
    assert "Traceback" not in told
