"""A small disk of its own for the journals of a site's agents, which can be full for a while. Needs root.

The volume of a journal is made before its manager makes it, with a folder of that disk behind it: a manager takes a
volume that is there already. For an agent that its manager was quicker with, nothing is different.
"""

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import docker.errors

from sandbox.spec import JOURNAL, LABEL, SandboxSpec
from tests import engine
from tests.faults.storm.site import StormSite

SIZE = 32 * 1024 * 1024
LOOK_SECONDS = 0.01
BOUND = 60.0
PIECE = bytes(1024 * 1024)


class JournalDisk:
    """The disk, from `mount` to `close`."""

    def __init__(self, site: StormSite) -> None:
        self._site = site
        self._folder = site.root / "journals"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="journal-disk")
        self._newest = 0

    def mount(self) -> None:
        self._folder.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "storm-journals", str(self._folder)]
        subprocess.run(argv, check=True)
        self._thread.start()

    def close(self) -> None:
        """Go on with nobody's journal, and take the disk away from whoever comes later. Idempotent."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(BOUND)
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

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            asked = "SELECT id, created_seq FROM subagent WHERE created_seq > ? ORDER BY created_seq"
            with suppress(sqlite3.Error, docker.errors.DockerException, OSError):
                for subagent, seq in self._site.look(asked, self._newest):
                    self._newest = seq
                    self._make(subagent)

    def _make(self, subagent: str) -> None:
        spec = SandboxSpec(self._site.store_id, subagent, image="none", command=("none",), journal=True)
        folder = self._folder / subagent
        folder.mkdir()
        labels = {f"{LABEL}{name}": value for name, value in {"store": spec.store, "subagent": subagent}.items()}
        options = {"type": "none", "o": "bind", "device": str(folder)}
        with engine.client() as client:
            client.api.create_volume(spec.journal_volume, "local", options, labels | {f"{LABEL}epoch": "1"})


def is_full(container: str) -> bool:
    """Return whether a container has its journal on a disk without room, as the host sees it."""
    with engine.client() as client, suppress(docker.errors.APIError, OSError):
        pid = client.api.inspect_container(container)["State"]["Pid"]
        return os.statvfs(f"/proc/{pid}/root{JOURNAL}").f_bavail == 0
    return False
