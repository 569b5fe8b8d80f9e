"""The holder of one agent in its sandbox: where its files are, how it is started, and how it is reached.

Over a unix socket where engine and manager share them, else over an exec of `holder attach`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.channel import Receiver
from sandbox.container import Sandbox
from sandbox.holder.frames import Settings, State
from sandbox.holder.link import Link, SocketLink
from sandbox.holder.reader import journal_of
from sandbox.holder.start import start

SOCKET: Final = "holder.sock"


@dataclass(frozen=True, slots=True)
class Hold:
    """`program` and `folder` are the holder and its socket's folder inside; `shared` is that folder on this side.

    `shared` is None where sockets are not shared.
    """

    sandbox: Sandbox
    program: str
    folder: str
    shared: Path | None

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
            socket=self._socket,
            ttl=round(ttl),
        )
        return await start(lambda receiver: self._execute(receiver, "run"), settings)

    async def open(self, receiver: Receiver) -> Link:
        """Open a link to the holder: what `HeldChannel.attach` needs. Raises HolderGone, SandboxGone, EngineError."""
        if self.shared is not None:
            return await SocketLink.open(self.shared / SOCKET, receiver)
        return await self._execute(receiver, "attach", self._socket)

    @property
    def _socket(self) -> str:
        return f"{self.folder}/{SOCKET}"

    async def _execute(self, receiver: Receiver, *words: str) -> Link:
        user = f"0:{self.sandbox.spec.gid}"
        return await self.sandbox.open_channel([self.program, *words], cwd="/", env={}, receiver=receiver, user=user)
