"""The images and the agents volume that sandboxes are made from: there already, pulled, or built here.

Promises: names carry a hash of the content, so an unchanged recipe costs one or two inspect calls and a changed one is
built anew; several processes may ask at once and all get a usable answer; each slow or downloading step is announced
before it begins; where nothing can be had, `ImageMissing` says in one sentence why and what to do.

`python -m sandbox.images` makes all of it, with the steps on standard error and the names on standard output.
"""

import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping

from sandbox.agents_volume import AgentsVolume
from sandbox.engine import Engine
from sandbox.errors import EngineError, EngineRefused, ImageMissing, SandboxError
from sandbox.image_recipe import INDEXES, Recipe, load_recipe, network_arguments
from sandbox.image_rootfs import Rootfs, RootfsUnavailable, bootstrap

__all__ = ["ensure_agents", "ensure_base", "ensure_image", "main"]

Progress = Callable[[str], None]

FIRST_WORD_SECONDS = 30.0  # within which a registry must have answered
SILENCE_SECONDS = 120.0  # between two lines of a pull
BUILD_SECONDS = 1200.0
TAR_BLOCK = 1 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
EXIT_ENGINE = 69


async def ensure_base(
    engine: Engine, progress: Progress, *, recipe: Recipe | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """Return the name of the default image, which has git, sh and python3; made if it is not on the engine.

    Raises ImageMissing when no registry and no package mirror gives what it is made of.
    """
    recipe = recipe or load_recipe()
    name = recipe.base_name(_architecture(engine, recipe))
    if await engine.inspect_image(name):
        return name
    rootfs = await _rootfs(engine, recipe, progress)
    progress("Building the base image: about 45 MB of packages, a minute or two.")
    arguments = {"ROOTFS": rootfs, "PACKAGES": " ".join(recipe.packages), **network_arguments(environ)}
    await _build(engine, name, lambda: _build_image(engine, name, recipe.base_context(), arguments))
    return name


async def ensure_agents(
    engine: Engine, progress: Progress, *, recipe: Recipe | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """Return the name of the volume that holds the coding agents; to be mounted read-only in any glibc image.

    Raises ImageMissing when the packages cannot be fetched or do not run.
    """
    recipe = recipe or load_recipe()
    architecture = _architecture(engine, recipe)
    versions = recipe.versions(architecture)
    volume = AgentsVolume(engine=engine, key=recipe.agents_key(architecture), versions=versions)
    if name := await volume.published():
        return name
    base = await ensure_base(engine, progress, recipe=recipe, environ=environ)
    image = f"{volume.image}:{volume.key}"
    if not await engine.inspect_image(image):
        progress("Building the agents image: about 450 MB from the package registries, about two minutes.")
        arguments = {"BASE": base, "VERSIONS": versions, **network_arguments(environ, INDEXES)}
        context = recipe.agents_context()
        await _build(engine, image, lambda: _build_agents(engine, image, context, arguments))
    progress("Filling the agents volume: about 1.1 GB on the engine's disk.")
    return await volume.fill(image, base)


async def ensure_image(engine: Engine, name: str, progress: Progress) -> str:
    """Return `name` once an image of that name is on the engine, pulled if need be. Raises ImageMissing."""
    if not NAME.fullmatch(name):
        raise ImageMissing(f"{name!r} is not the name of an image; give one like python:3.13-slim.")
    try:
        if await engine.inspect_image(name):
            return name
    except EngineRefused as error:
        if error.status != 400:
            raise
        raise ImageMissing(f"{name!r} is not the name of an image ({_clause(error)}).") from error
    if why := await _pull(engine, name, progress):
        raise ImageMissing(
            f"The image {name} is not on the engine and could not be pulled ({why}); "
            "pull, build or load it first, or leave --image out to use the default image."
        )
    return name


def _architecture(engine: Engine, recipe: Recipe) -> str:
    found = engine.facts.architecture
    if found not in recipe.agents:
        raise ImageMissing(
            f"The engine runs on {found}, for which there are no agents; use one on {' or '.join(recipe.agents)}."
        )
    return found


async def _rootfs(engine: Engine, recipe: Recipe, progress: Progress) -> str:
    """Return the name of a bare Debian or Ubuntu image: one on the engine, else pulled, else made from packages."""
    architecture = engine.facts.architecture
    for name in (_rootfs_name(recipe.suite, architecture), recipe.rootfs_image):
        found = await engine.inspect_image(name)
        if found and found.get("Architecture") == architecture:
            return name
    no_pull = await _pull(engine, recipe.rootfs_image, progress, "about 30 MB")
    if no_pull is None:
        return recipe.rootfs_image
    progress(f"{recipe.rootfs_image} cannot be pulled here; making one from packages instead.")
    try:
        async with bootstrap(recipe.suite, architecture, progress) as rootfs:
            name = _rootfs_name(rootfs.suite, architecture)
            await _import(engine, name, rootfs)
            return name
    except RootfsUnavailable as error:
        raise ImageMissing(
            f"The base image cannot be made: {recipe.rootfs_image} is not on the engine, could not be pulled "
            f"({no_pull}), and {error}; load that image, or run `make images` once as root on Debian or Ubuntu."
        ) from error


def _rootfs_name(suite: str, architecture: str) -> str:
    return f"acp-subagents/rootfs:{suite}-{architecture}"


async def _import(engine: Engine, name: str, rootfs: Rootfs) -> None:
    with _tar(rootfs) as tar:
        blocks = iter(lambda: tar.stdout.read(TAR_BLOCK) if tar.stdout else b"", b"")
        await engine.import_image(blocks, name, changes=['CMD ["sh"]'])
        code = await asyncio.to_thread(tar.wait, 60)
    if code != 0:
        await engine.remove_image(name)
        raise RootfsUnavailable(f"the root file system could not be read whole (tar ended with {code})")


@contextlib.contextmanager
def _tar(rootfs: Rootfs) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(rootfs.tar_command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


async def _pull(engine: Engine, name: str, progress: Progress, size: str = "its size is not known") -> str | None:
    """Pull an image; None when it is there, else one clause that says why not. Silence is not waited out."""
    progress(f"Pulling {name} from its registry, if that answers; {size}.")
    now = asyncio.get_running_loop().time
    bound = asyncio.timeout(FIRST_WORD_SECONDS)

    def on_line(_line: str) -> None:
        if not bound.expired():
            bound.reschedule(now() + SILENCE_SECONDS)

    try:
        async with bound:
            await engine.pull_image(name, on_line)
    except TimeoutError:
        return "no registry answered in time"
    except (EngineRefused, ImageMissing) as error:
        return _clause(error)
    return None


async def _build(engine: Engine, name: str, build: Callable[[], Awaitable[None]]) -> None:
    try:
        await build()
    except EngineRefused as error:
        if await engine.inspect_image(name):  # another process was faster, and has cleaned up what this one needed
            return
        raise ImageMissing(
            f"The image {name} could not be built: {_clause(error)}; mend that and try again."
        ) from error


async def _build_image(
    engine: Engine, name: str, context: bytes, arguments: Mapping[str, str], target: str | None = None
) -> None:
    await engine.build_image(
        io.BytesIO(context), tag=name, on_line=_ignore, buildargs=arguments, bound=BUILD_SECONDS, target=target
    )


async def _build_agents(engine: Engine, image: str, context: bytes, arguments: Mapping[str, str]) -> None:
    """Build in two calls, so that the first stage has a name by which its 1.5 GB can be removed again."""
    stage = image.replace("/agents:", "/agents-fetch:")
    await _build_image(engine, stage, context, arguments, target="fetch")
    await _build_image(engine, image, context, arguments)
    with contextlib.suppress(EngineError):  # another process builds on it, and removes it then
        await engine.remove_image(stage)


def _ignore(_line: str) -> None:
    """Drop a line of the builder; its last ones come with the error."""


def _clause(error: SandboxError) -> str:
    return " ".join(str(error).split()).rstrip(".")


async def _make_all() -> list[str]:
    engine = await Engine.connect(os.environ)
    try:
        return [await ensure_base(engine, _say), await ensure_agents(engine, _say)]
    finally:
        await engine.close()


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def main() -> int:
    """Make the images and the volume; print their names. Exit code 69 when the engine or the network is in the way."""
    try:
        names = asyncio.run(_make_all())
    except SandboxError as error:
        _say(str(error))
        return EXIT_ENGINE
    sys.stdout.writelines(f"{name}\n" for name in names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
