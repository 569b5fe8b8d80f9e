"""Agents below a holder: the same work over its two ways in, attaching again, and the cheapest start there is."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from acp_runtime.session.channel import Channel, Receiver
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.hold import Hold
from sandbox.holder.channel import HeldChannel
from sandbox.programs_volume import HOLDER, PROGRAMS_MOUNT, ensure_programs
from sandbox.spec import HostMount, SandboxSpec, VolumeMount
from tests.bench.channels import LINE, REPLY_SECONDS, Echo, Way
from tests.bench.measure import Figure
from tests.engine import client

INSIDE: Final = "/run/holder"
TTL: Final = 600.0
KIB: Final = 1024
ENV: Final[Mapping[str, str]] = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp"}


@asynccontextmanager
async def holding(engine: Engine, image: str, folder: Path, labels: Mapping[str, str]) -> AsyncIterator["Holding"]:
    """Give a sandbox in which agents are held one after the other; it and its journals are gone afterwards."""
    spec = await _spec(engine, image, folder, labels)
    sandbox = await Sandbox.create(engine, spec)
    try:
        yield Holding(sandbox, folder)
    finally:
        await asyncio.shield(sandbox.remove(volumes=True))


async def _spec(engine: Engine, image: str, folder: Path, labels: Mapping[str, str]) -> SandboxSpec:
    await asyncio.to_thread(folder.mkdir, 0o770)
    programs = VolumeMount(await ensure_programs(engine, image), PROGRAMS_MOUNT)
    return SandboxSpec(
        store=f"{secrets.token_hex(4)}-bench",
        subagent="held",
        image=image,
        command=("sleep", "600"),
        gid=os.getgid(),
        labels=labels,
        mounts=(programs, HostMount(str(folder), INSIDE, read_only=False)),
        work=False,
        home=False,
        journal=True,
    )


class Holding:
    """Starts agents below holders in one sandbox: each is an attempt of its own."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._count = 0

    @property
    def container(self) -> str:
        return self._sandbox.id

    def way(self, label: str, *, socket: bool) -> Way:
        """Give the way to a held program, over the holder's socket or over `holder attach`."""

        @asynccontextmanager
        async def opened(argv: Sequence[str], receiver: Receiver) -> AsyncIterator[Channel]:
            async with self.held(argv, receiver, socket=socket) as (channel, _):
                yield channel

        return Way("container", opened, "python3", label)

    @asynccontextmanager
    async def held(
        self, argv: Sequence[str], receiver: Receiver, *, socket: bool
    ) -> AsyncIterator[tuple[HeldChannel, Hold]]:
        """Start a program below a holder, attach, and end both afterwards."""
        self._count += 1
        sandbox = Sandbox(self._sandbox.engine, replace(self._sandbox.spec, attempt=self._count), self._sandbox.id)
        hold = Hold(sandbox, HOLDER, INSIDE, self._folder if socket else None)
        token = secrets.token_hex(16)
        await hold.start(argv, cwd="/", env=ENV, token=token, epoch=1, ttl=TTL)
        channel = HeldChannel(receiver, receiver, token=token, epoch=1)
        try:
            await channel.attach(hold.open)
            yield channel, hold
        finally:
            await channel.close()
            await _end(hold, token, channel)


async def _end(hold: Hold, token: str, before: HeldChannel) -> None:
    """End the agent and its holder by a channel of its own: the one before may have been closed by a session."""
    echo = Echo()
    ender = HeldChannel(
        echo, echo, token=token, epoch=2, stdout_from=before.received, stderr_from=before.received_stderr
    )
    try:
        await ender.attach(hold.open)
        await ender.kill(0)
        async with asyncio.timeout(REPLY_SECONDS):
            await ender.wait_over()
        await ender.dismiss()
    finally:
        await ender.close()


async def attachments(holding: Holding, count: int) -> list[Figure]:
    """Attach again and again, over each way: until the holder has answered."""
    loop, figures = asyncio.get_running_loop(), []
    for label, socket in (("socket", True), ("exec", False)):
        taken = []
        async with holding.held(["cat"], Echo(), socket=socket) as (channel, hold):
            for _ in range(count):
                begin = loop.time()
                await channel.attach(hold.open)
                taken.append((loop.time() - begin) * 1000)
        figures.append(Figure(f"attaching again to a held agent, by {label}", "ms", "container", tuple(taken)))
    return figures


async def memory(engine: Engine, holding: Holding) -> list[Figure]:
    """Tell how much memory of its own a holder takes, where the engine's processes are this machine's."""
    async with holding.held(["cat"], Echo(), socket=True):
        pids = [pid for pid, _ in await engine.processes(holding.container)]
        sizes = [size for pid in pids if (size := _private(pid)) is not None]
    return [Figure("memory of a holder", "KiB", "container", tuple(sizes))] if sizes else []


def _private(pid: int) -> float | None:
    """Return the kibibytes that a holder alone uses; None for other processes and other machines."""
    try:
        if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() != "holder":
            return None
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return sum(float(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


async def cold_starts(engine: Engine, image: str, folder: Path, labels: Mapping[str, str], count: int) -> list[Figure]:
    """From nothing to the first answer of `cat` in a hardened container of its own, without workspace and home.

    In turns with it: the same for a container as the engine makes it by itself, and a program executed in it.
    """
    loop, taken, bare = asyncio.get_running_loop(), [], []
    for number in range(count):
        bare.append(await asyncio.to_thread(_bare_start, image, labels))
        place = folder / f"cold-{number}"
        spec = replace(await _spec(engine, image, place, labels), subagent=f"cold{number}")
        begin = loop.time()
        async with AsyncExitStack() as stack:
            sandbox = await Sandbox.create(engine, spec)
            stack.push_async_callback(sandbox.remove, volumes=True)
            echo = Echo()
            held = Holding(sandbox, place).held(["cat"], echo, socket=True)
            channel, _ = await stack.enter_async_context(held)
            echo.expect(len(LINE))
            await channel.send(LINE)
            async with asyncio.timeout(REPLY_SECONDS):
                await echo.come()
            taken.append((loop.time() - begin) * 1000)
    return [
        Figure("cold bare container, to the first answer of a program in it", "ms", "container", tuple(bare)),
        Figure("cold hardened container with a held echo, to its first answer", "ms", "container", tuple(taken)),
    ]


def _bare_start(image: str, labels: Mapping[str, str]) -> float:
    with client() as docker:
        begin = time.perf_counter()
        container = docker.containers.create(image, ["sleep", "60"], labels=dict(labels))
        try:
            container.start()
            assert container.exec_run(["echo", "ready"]).output == b"ready\n"
            return (time.perf_counter() - begin) * 1000
        finally:
            container.remove(force=True)
