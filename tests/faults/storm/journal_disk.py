"""A small disk of its own for the journals of a site's agents, which can be full for a while. Needs root.

Managers of the site make the volumes of journals there, as they make any volume: `pointed_daemon.py` sees to it.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import docker.errors

from sandbox.engine import USUAL, Engine
from sandbox.spec import JOURNAL
from tests import engine

SIZE = 32 * 1024 * 1024
PIECE = bytes(1024 * 1024)


class JournalDisk:
    """The disk in a folder, from `mount` to `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mount(self) -> None:
        self._folder.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "storm-journals", str(self._folder)]
        subprocess.run(argv, check=True)

    def close(self) -> None:
        """Take the disk away from whoever comes later. Idempotent."""
        if self._folder.is_mount():
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        ballast = self._folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(PIECE):
                pass
        try:
            yield
        finally:
            ballast.unlink()


async def create_on_disk(engine: Engine, name: str, labels: Mapping[str, str], disk: Path) -> None:
    """Do what `Engine.create_volume` does, with a new folder of a disk behind the volume."""
    folder = disk / f"{name}-{secrets.token_hex(4)}"
    folder.mkdir()
    options = {"type": "none", "o": "bind", "device": str(folder)}
    doing = f"create the volume {name} on a small disk"
    await engine._client.call(
        doing, lambda api: api.create_volume(name, "local", options, dict(labels)), deadline=USUAL
    )


def is_full(container: str) -> bool:
    """Return whether a container has its journal on a disk without room, as the host sees it."""
    with engine.client() as client, suppress(docker.errors.APIError, OSError):
        pid = client.api.inspect_container(container)["State"]["Pid"]
        return os.statvfs(f"/proc/{pid}/root{JOURNAL}").f_bavail == 0
    return False
