"""The volume of journals: a throw-away sandbox that reads it, what it tells, and the removal of what is of no use."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import EngineError
from sandbox.holder.errors import HolderError
from sandbox.spec import JOURNAL, LABEL, Limits, SandboxSpec, VolumeMount

SECONDS: Final = "1800"
LIMITS: Final = Limits(memory_bytes=128 * 1024**2, cpus=1.0, pids=16, tmp_bytes=1024**2)
LOOK_BOUND: Final = 30.0
REMOVE_BOUND: Final = 60.0
FREE, TAKEN = "free", "taken"
LOCK: Final = f"""
import fcntl, sys
with open(sys.argv[1] + "/state", "rb") as state:
    try:
        fcntl.flock(state, fcntl.LOCK_SH | fcntl.LOCK_NB)
        print("{FREE}")
    except BlockingIOError:
        print("{TAKEN}")
"""
REMOVE: Final = """
for folder in "$1"/*; do
    name=${folder##*/}
    case $name in *[!0-9]*) continue;; esac
    if [ "$name" -lt "$2" ]; then rm -rf "$folder"; fi
done
"""


def journal_of(attempt: int) -> str:
    """Return where the holder of an attempt keeps its journal, inside of a sandbox."""
    return f"{JOURNAL}/{attempt}"


@contextlib.asynccontextmanager
async def reader(engine: Engine, spec: SandboxSpec, image: str) -> AsyncIterator[Sandbox]:
    """Give a sandbox that sees the journals of the agent with this specification, to read, and nothing else of it.

    It ends with the context. `image` holds python3, for `dead.replay`. Raises HolderError (`journal_missing`) when the
    agent has no such volume, and the errors of `Sandbox.create`.
    """
    volume = spec.journal_volume
    found = None if volume is None else await engine.inspect_volume(volume)
    own = {f"{LABEL}store": spec.store, f"{LABEL}subagent": spec.subagent}
    if volume is None or found is None or not own.items() <= (found["Labels"] or {}).items():
        raise HolderError("journal_missing", f"The engine has no journals of the agent {spec.subagent}.")
    alone = replace(spec, work=False, home=False, base=False, journal=False, workdir="/", env={}, gid=0, image=image)
    alone = replace(alone, runtime="", unsafe_seccomp=False)
    mounts = (VolumeMount(volume, JOURNAL),)
    reading = replace(alone, role="journal", command=("sleep", SECONDS), limits=LIMITS, mounts=mounts)
    sandbox = await Sandbox.create(engine, reading)
    try:
        yield sandbox
    finally:
        await sandbox.remove()


async def abandoned(sandbox: Sandbox, directory: str) -> bool:
    """Tell whether a journal, in a sandbox of `reader`, has no holder any more: its lock went with the process.

    Raises the errors of `Sandbox.run`, and EngineError when the journal does not tell.
    """
    argv = ("python3", "-I", "-S", "-c", LOCK, directory)
    done = await sandbox.run(argv, cwd="/", limit_bytes=1000, timeout=LOOK_BOUND, user="0:0")
    word = done.stdout.decode(errors="replace").strip()
    if done.exit_code != 0 or word not in (FREE, TAKEN):
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EngineError(f"The lock of the journal {directory} of {sandbox.spec.subagent} does not tell ({words}).")
    return word == FREE


async def remove_journals(sandbox: Sandbox, *, before: int) -> None:
    """Remove the journals of the attempts before this one, in a sandbox that may write them.

    Raises the errors of `Sandbox.run`, and EngineError when something stayed.
    """
    argv = ("sh", "-c", REMOVE, "sh", JOURNAL, str(before))
    done = await sandbox.run(argv, cwd="/", limit_bytes=1000, timeout=REMOVE_BOUND, user="0:0")
    if done.exit_code != 0:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EngineError(f"Old journals of the agent {sandbox.spec.subagent} could not be removed ({words}).")
