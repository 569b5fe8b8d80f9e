"""The volume with relay, holder and tools, as the engine holds it: read back and compared before it was published.

It is mounted read-only at `PROGRAMS_MOUNT`, in any image and on any engine, also one that does not see this machine's
files. Its name follows from what is in it: programs of two versions lie side by side, and a sandbox keeps its own.
"""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sandbox.engine import Engine
from sandbox.errors import ProgramMissing
from sandbox.programs import HOLDER, PROGRAMS, PROGRAMS_MOUNT, RELAY, read_program
from sandbox.published_volume import PublishedVolume

__all__ = ["HOLDER", "PROGRAMS_MOUNT", "RELAY", "ProgramsVolume", "ensure_programs"]

MODE = 0o755
MOST_READ_BACK = 4 * 1024 * 1024  # bytes


async def ensure_programs(engine: Engine, image: str) -> str:
    """Return the name of the volume with the programs of this package for the engine, which is filled if need be.

    `image` is any that is on the engine; nothing of it runs. Raises ProgramMissing when the package has no such
    program, or an altered one, or the engine did not keep what it was given; EngineError.
    """
    volume = await asyncio.to_thread(ProgramsVolume.of_package, engine)
    return await volume.published() or await volume.fill(image)


@dataclass(frozen=True, kw_only=True)
class ProgramsVolume(PublishedVolume):
    """`programs` are the bytes of each, by its name."""

    content: ClassVar[str] = "programs"
    programs: Mapping[str, bytes]

    @classmethod
    def of_package(cls, engine: Engine) -> "ProgramsVolume":
        architecture = engine.facts.architecture
        programs = {name: read_program(name, architecture) for name in PROGRAMS}
        digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in programs.values())).hexdigest()
        return cls(engine=engine, key=f"{architecture}-{digest[:16]}", programs=programs)

    async def fill(self, image: str) -> str:
        """Fill a volume, compare what is in it, publish it; return the published one."""

        async def filled(name: str) -> None:
            container = f"{name}-filler"
            settings = {
                "image": image,
                "entrypoint": [RELAY],  # never started: an engine makes no container without a command
                "labels": self.labels,
                "host_config": {
                    "network_mode": "none",
                    "cap_drop": ["ALL"],
                    "mounts": [self.mount(name, PROGRAMS_MOUNT, NoCopy=True)],
                },
            }
            try:
                await self.engine.create_container(container, settings)
                await self.engine.put_archive(container, "/", self._packed())
                await self._compare(await self.engine.get_archive(container, PROGRAMS_MOUNT, most=MOST_READ_BACK))
            finally:
                await self.engine.remove_container(container)

        return await self.fill_with(filled)

    def _packed(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            folder = tarfile.TarInfo(PROGRAMS_MOUNT.lstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, MODE
            archive.addfile(folder)
            for name, data in self.programs.items():
                entry = tarfile.TarInfo(f"{folder.name}/{name}")
                entry.size, entry.mode = len(data), MODE
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()

    async def _compare(self, archive: bytes) -> None:
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as found:
                files = {
                    entry.name.rpartition("/")[2]: (
                        entry.mode & 0o7777,
                        (found.extractfile(entry) or io.BytesIO()).read(),
                    )
                    for entry in found.getmembers()
                    if not entry.isdir()
                }
        except (tarfile.TarError, EOFError) as error:
            raise ProgramMissing(
                f"The volume with our programs could not be read back ({error}); try again."
            ) from error
        wrong = [name for name in {*files, *self.programs} if files.get(name) != (MODE, self.programs.get(name))]
        if wrong:
            raise ProgramMissing(
                f"The engine did not keep {' and '.join(sorted(wrong))} as given; free disk space on it and try again."
            )
