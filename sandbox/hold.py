"""The holder of one agent in its sandbox: where its files are, how it is started, and how it is reached.

Over a unix socket where engine and manager share them, else over an exec of `holder attach`. The holder listens inside
its sandbox in any case: what is in a shared folder may be removed by anybody on this side, and is then gone for good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sandbox.channel import Receiver
from sandbox.container import Sandbox
from sandbox.holder.frames import Settings, State
from sandbox.holder.link import Link, SocketLink
from sandbox.holder.reader import journal_of
from sandbox.holder.start import start

SOCKET: Final = "holder.sock"
INNER: Final = "/run/holder.sock"  # in a tmpfs of the sandbox, for its root alone


@dataclass(frozen=True, slots=True)
class Hold:
    """`program` is the holder inside, `folder` a folder for a socket that `shared` is on this side.

    `shared` is None where sockets are not shared; there is no such folder then.
    """

    sandbox: Sandbox
    program: str
    folder: str
    shared: Path | None

    @property
    def within(self) -> "Hold":
        """The same holder, reached from inside of its sandbox: that works whatever became of the shared folder."""
        return replace(self, shared=None)

    async def start(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], token: str, epoch: int, ttl: float
    ) -> State:
        """Start the agent below a holder, which ends it after `ttl` seconds without a manager.

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
            ttl=round(ttl),
        )
        return await start(lambda receiver: self._execute(receiver, "run"), settings)

    async def open(self, receiver: Receiver) -> Link:
        """Open a link to the holder: what `HeldChannel.attach` needs. Raises HolderGone, SandboxGone, EngineError."""
        if self.shared is not None:
            return await SocketLink.open(self.shared / SOCKET, receiver)
        return await self._execute(receiver, "attach", INNER)

    async def _execute(self, receiver: Receiver, *words: str) -> Link:
        user = f"0:{self.sandbox.spec.gid}"
        return await self.sandbox.open_channel([self.program, *words], cwd="/", env={}, receiver=receiver, user=user)
