"""A real disk of a few megabytes: an ext4 file system in a file, mounted by a loop device."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024


class SmallDisk:
    """`folder` is where it is mounted. A file of ballast takes as much of its room as a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    @contextmanager
    def with_only(self, room: int) -> Iterator[None]:
        """Have about that many bytes free inside of the block, and for 0 none at all."""
        self._take_all_but(room)
        try:
            yield
        finally:
            self._ballast.unlink()

    def _take_all_but(self, room: int) -> None:
        os.sync()
        file = os.open(self._ballast, os.O_WRONLY | os.O_CREAT)
        try:
            size, step = 0, 16 * MIB
            while step >= 4096:
                if self.free - step < room:
                    step //= 2
                    continue
                try:
                    os.posix_fallocate(file, size, step)
                    size += step
                except OSError:
                    step //= 2
            os.fsync(file)
        finally:
            os.close(file)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root: a disk is made with mkfs.ext4 and mounted")
    image, mount = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(size)
    mount.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield SmallDisk(mount)
    finally:
        subprocess.run(["umount", str(mount)], check=True)
