"""This machine's Python in a container with the engine's socket: what it has there no other container sees.

with contained(engine_socket, image, mark, "-m", "tests.docker.remote", image, mark) as manager:   # a container

Its folder `PLACE` is a volume of the mark, which outlasts it and which the next one with the mark has too. Containers
are killed and removed at the end; the volume is `forget`'s.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker.types

from tests import engine

REPO = Path(__file__).parents[2]
PLACE = "/place-of-a-manager"  # which this machine must not have: its engine looks for what is mounted here
SAID = f"{PLACE}/said"  # see `tell`


@contextmanager
def contained(engine_socket: str, image: str, mark: str, *argv: str, **environ: str) -> Iterator[Any]:
    """Run Python with these arguments, and `environ` besides what it needs."""
    parts = {str(REPO), sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/bin"}
    paths = {path for path in parts | set(sys.path) if Path(path).is_dir()}
    outermost = [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]
    mounts = [docker.types.Mount(path, os.path.realpath(path), "bind", read_only=True) for path in outermost]
    mounts.append(docker.types.Mount("/engine.sock", engine_socket, "bind"))
    mounts.append(docker.types.Mount(PLACE, _volume(mark), "volume", labels=_label(mark)))
    own = {"DOCKER_HOST": "unix:///engine.sock", "HOME": "/tmp/home", "PYTHONPATH": os.pathsep.join(sys.path)}
    with engine.client() as client:
        made = client.containers.create(
            image,
            [sys.executable, "-B", *argv],
            mounts=mounts,
            environment={**own, **environ},
            working_dir=str(REPO),
            network_mode="none",
            labels=_label(mark),
        )
        try:
            made.start()
            yield made
        finally:
            made.remove(force=True, v=True)


def tell(word: str) -> None:
    """Say a word, as such a manager, to who started it."""
    Path(SAID).write_text(word, encoding="utf-8")


def forget(mark: str) -> None:
    """Remove what the managers of a mark had in common."""
    engine.remove_volumes([_volume(mark)])


def _volume(mark: str) -> str:
    return f"acp-subagents-test-{mark}"


def _label(mark: str) -> dict[str, str]:
    return {"io.acp-subagents.test": mark}
