"""Folders of the host that containers see: one for each agent with its sockets, and one with the relay's program.

Both are bind-mounted read-only, but for the folder `HOLDER` in the first: the holder makes its socket there. The agent
can enter neither: they are for the container's root, by group.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

from acp_runtime.manager.launcher import LaunchError
from sandbox.programs import program as program_file

SOCKET: Final = "model.sock"
HOLDER: Final = "holder"


def make_private(folder: Path) -> Path:
    """Make a folder that only this user enters. Raises `LaunchError` when somebody else owns it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise LaunchError("runtime_dir", f"{folder} belongs to another user; set XDG_RUNTIME_DIR to a folder of yours")
    return folder


def make_run_dir(root: Path, store: str, subagent: str, *, keep: bool = False) -> Path:
    """Make the folder of one agent, with the folder `HOLDER` in it; anew, or with `keep` whichever is there already.

    A container that goes on has the folders themselves mounted, not their names: one made anew is none that it sees.
    """
    folder = make_private(root) / store / subagent
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    for path, mode in ((folder, 0o750), (folder / HOLDER, 0o770)):
        path.mkdir(parents=True, mode=0o700, exist_ok=keep)
        path.chmod(mode)
    return folder


def remove_run_dir(root: Path, store: str, subagent: str) -> None:
    """Remove an agent's folder, and its store's when that was the last one in it."""
    shutil.rmtree(root / store / subagent, ignore_errors=True)
    try:
        (root / store).rmdir()
    except OSError:
        return


def relay_dir(cache: Path, architecture: str) -> Path:
    """Return a folder that holds the relay for an engine's architecture, readable by any user of a container.

    The installed program may lie where a container's root, who has no special rights, cannot read it.
    """
    program = program_file("relay", architecture).read_bytes()
    folder = cache / f"relay-{architecture}-{hashlib.sha256(program).hexdigest()[:16]}"
    target = folder / "relay"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"relay.{os.getpid()}"
        partial.write_bytes(program)
        partial.chmod(0o755)
        folder.chmod(0o755)
        partial.replace(target)
    return folder
