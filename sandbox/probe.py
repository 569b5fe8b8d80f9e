"""What this engine and this process share, found out by trying, never inferred from an address.

Promise: `sockets_shared` is true only after a file was read inside a container, a socket of this process was reached
from inside and one made inside was reached from here. The caller caches the result per engine.
"""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from sandbox.claimed import claimed
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import EngineError, EngineRefused
from sandbox.spec import HostMount, Limits, SandboxSpec

INSIDE = "/run/probe"
FOLDER_PREFIX = "p"
NO_LABELS: Mapping[str, str] = MappingProxyType({})
BOUND = 20.0  # seconds, for what happens inside
STEP = 5.0
FEW_BYTES = 4096
LONGEST_SOCKET_PATH = 100  # the system's limit is 108 with the end mark

LOOK = "import os, sys; found = os.stat(sys.argv[1]); print(found.st_uid, found.st_gid)"

# Argument: the directory. Reads the file, connects out, then lets itself be connected to once. Prints what it found.
TRY = f"""
import json, os, socket, sys
where = sys.argv[1]
found = {{"nonce": "", "out": "", "error": ""}}
os.umask(0o007)
try:
    with open(where + "/nonce") as file:
        found["nonce"] = file.read()
    with socket.socket(socket.AF_UNIX) as out, socket.socket(socket.AF_UNIX) as back:
        out.settimeout({STEP})
        out.connect(where + "/host.sock")
        found["out"] = out.recv(100).decode()
        back.settimeout({STEP})
        back.bind(where + "/inside.sock")
        back.listen(1)
        out.sendall(b"listening")
        line, _ = back.accept()
        line.sendall(found["nonce"].encode())
        line.close()
        os.unlink(where + "/inside.sock")
except OSError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`uid` and `gid` are those that a directory of this process has when it is seen inside a container.

    `why` is one sentence when sockets are not shared, empty when they are.
    """

    sockets_shared: bool
    gid: int
    uid: int
    why: str


async def probe(
    engine: Engine, run_root: Path, image: str, *, assume_remote: bool = False, labels: Mapping[str, str] = NO_LABELS
) -> ProbeResult:
    """Find out whether unix sockets below `run_root` reach into containers and back.

    Takes about half a second and leaves nothing. The image must hold python3. With `assume_remote` nothing is tried
    and the answer is that of a remote engine (for tests). Raises ImageMissing, CommandMissing, EngineError when the
    engine could not be asked at all.
    """
    if assume_remote:
        return _not_shared("it was told to take the engine for a remote one")
    with claimed(run_root, FOLDER_PREFIX) as directory:
        directory.chmod(0o770)  # whatever the umask: the container's side has the group only
        if len(os.fsencode(directory / "inside.sock")) > LONGEST_SOCKET_PATH:
            return _not_shared(f"the path {directory} is too long for a socket; choose a shorter run directory")
        return await _probe_with(engine, directory, image, labels)


async def _probe_with(engine: Engine, directory: Path, image: str, labels: Mapping[str, str]) -> ProbeResult:
    spec = SandboxSpec(
        store=f"probe-{secrets.token_hex(4)}",
        subagent=secrets.token_hex(4),
        image=image,
        command=("python3", "-c", f"import time; time.sleep({BOUND})"),  # what a killed manager leaves ends by itself
        role="probe",
        limits=Limits(memory_bytes=128 * 1024**2, pids=32, tmp_bytes=1024**2),
        mounts=(HostMount(str(directory), INSIDE, read_only=False),),
        labels=labels,
        work=False,
        home=False,
    )
    try:
        sandbox = await Sandbox.create(engine, spec)
    except EngineRefused as error:  # the engine looks for the directory on its own machine
        if "mount" not in str(error):
            raise
        return _not_shared(f"the engine does not see the directory {directory} of this machine")
    try:
        return await _converse(sandbox, directory)
    finally:
        await sandbox.remove()


async def _converse(sandbox: Sandbox, directory: Path) -> ProbeResult:
    looked = await _python(sandbox, LOOK, user="0:0")
    uid, gid = (int(word) for word in looked.split())
    nonce = secrets.token_hex(16)
    (directory / "nonce").write_text(nonce)
    (directory / "nonce").chmod(0o640)
    async with _Host(directory, nonce) as host:
        found = json.loads(await _python(sandbox, TRY, user=f"0:{gid}"))
    if found["nonce"] != nonce:
        why = "a directory of this machine is another one in a container, or cannot be read there"
    elif found["out"] != nonce:
        why = "a container cannot reach a socket of this machine"
    elif host.heard != nonce:
        why = "this machine cannot reach a socket made in a container"
    else:
        return ProbeResult(sockets_shared=True, gid=gid, uid=uid, why="")
    return _not_shared(f"{why} ({found['error'] or 'no error was told'})", uid=uid, gid=gid)


async def _python(sandbox: Sandbox, script: str, *, user: str) -> str:
    done = await sandbox.run(
        ("python3", "-c", script, INSIDE), cwd="/", limit_bytes=FEW_BYTES, timeout=BOUND, user=user
    )
    if done.exit_code != 0:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EngineError(f"The probe of the engine failed inside the container ({words}); check the image's python3.")
    return done.stdout.decode()


class _Host:
    """The socket of this side: tells the nonce to who connects, then connects to the socket that was made inside."""

    def __init__(self, directory: Path, nonce: str) -> None:
        self.heard = ""
        self._directory, self._nonce = directory, nonce
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        path = self._directory / "host.sock"
        self._server = await asyncio.start_unix_server(self._answer, path)
        path.chmod(0o660)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(STEP):
                writer.write(self._nonce.encode())
                await reader.readexactly(len(b"listening"))
                back, line = await asyncio.open_unix_connection(self._directory / "inside.sock")
                self.heard = (await back.read()).decode()
                line.close()
                await line.wait_closed()
        writer.close()


def _not_shared(why: str, *, uid: int = -1, gid: int = -1) -> ProbeResult:
    return ProbeResult(
        sockets_shared=False, gid=gid, uid=uid, why=f"The engine and this process share no sockets: {why}."
    )
