"""The holder of one agent in its sandbox: where its files are, how it is started, and how it is reached.

Over a unix socket where engine and manager share them, else over an exec of `holder attach`. The holder listens inside
its sandbox in any case: what is in a shared folder may be removed by anybody on this side, and is then gone for good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.channel import Receiver
from sandbox.container import Sandbox
from sandbox.holder.channel import HeldChannel
from sandbox.holder.errors import HolderGone
from sandbox.holder.frames import Settings, State
from sandbox.holder.link import Link, Opener, SocketLink
from sandbox.holder.reader import journal_of
from sandbox.holder.start import start

SOCKET: Final = "holder.sock"
INNER: Final = "/run/holder.sock"  # in a tmpfs of the sandbox, for its root alone
INIT: Final = 1


@dataclass(frozen=True, slots=True)
class Hold:
    """`program` is the holder inside, `folder` a folder for a socket that `shared` is on this side.

    `shared` is None where sockets are not shared; there may be no such folder then.
    """

    sandbox: Sandbox
    program: str
    folder: str
    shared: Path | None

    async def start(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], token: str, epoch: int, ttl: float
    ) -> State:
        """Start the agent below a holder, which ends it, and then the sandbox, after `ttl` seconds without a manager.

        Raises AgentNotStarted, HolderError, SandboxGone, EngineError.
        """
        settings = Settings(
            argv=tuple(argv),
            cwd=cwd,
            env=dict(env),
            token=token,
            epoch=epoch,
            journal=journal_of(self.sandbox.spec.attempt),
            socket=INNER,
            shared=None if self.shared is None else f"{self.folder}/{SOCKET}",
            init=INIT,
            ttl=round(ttl),
        )
        return await start(lambda receiver: self._execute(receiver, "run"), settings)

    async def open(self, receiver: Receiver) -> Link:
        """Open a link to the holder: what `HeldChannel.attach` needs. Raises HolderGone, SandboxGone, EngineError."""
        if self.shared is not None:
            return await SocketLink.open(self.shared / SOCKET, receiver)
        return await self._inside(INNER)(receiver)

    async def attach(self, channel: HeldChannel) -> State:
        """Attach a channel from inside of the sandbox: that works whatever became of the shared folder.

        A holder of an earlier version, where sockets are shared, listens in that folder alone. Raises as
        `HeldChannel.attach` and `open` do.
        """
        try:
            return await channel.attach(self._inside(INNER))
        except HolderGone as error:
            if self.shared is None or not error.nobody:
                raise
        return await channel.attach(self._inside(f"{self.folder}/{SOCKET}"))

    def _inside(self, socket: str) -> Opener:
        return lambda receiver: self._execute(receiver, "attach", socket)

    async def _execute(self, receiver: Receiver, *words: str) -> Link:
        user = f"0:{self.sandbox.spec.gid}"
        return await self.sandbox.open_channel([self.program, *words], cwd="/", env={}, receiver=receiver, user=user)
