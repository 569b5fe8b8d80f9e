"""Programs of clients for this machine, copied out of the volume in which they are pinned."""

import asyncio
import os
import tarfile
import tempfile
from pathlib import Path

import docker

from sandbox.agents_volume import AGENTS_MOUNT
from sandbox.engine import Engine
from sandbox.images import ensure_agents
from tests.docker.closure import closure_image
from tests.docker.conftest import NEVER_STARTED


def agents_volume() -> str:
    """Return the name of the volume."""

    async def ensured() -> str:
        engine = await Engine.connect(os.environ)
        try:
            return await ensure_agents(engine, lambda _: None)
        finally:
            await engine.close()

    return asyncio.run(ensured())


def copied(volume: str, path: str, folder: Path) -> Path:
    """Copy a program, or a folder, and return where it is now."""
    engine = docker.from_env(timeout=120)
    mounts = {volume: {"bind": AGENTS_MOUNT, "mode": "ro"}}
    container = engine.containers.create(closure_image(), ["true"], volumes=mounts, **NEVER_STARTED)
    try:
        pieces, _ = container.get_archive(f"{AGENTS_MOUNT}/{path}", chunk_size=1 << 20)
        with tempfile.TemporaryFile(dir=folder) as spool:
            spool.writelines(pieces)
            spool.seek(0)
            with tarfile.open(fileobj=spool) as archive:
                archive.extractall(folder, filter="data")
    finally:
        container.remove(force=True)
        engine.close()
    return folder / Path(path).name
