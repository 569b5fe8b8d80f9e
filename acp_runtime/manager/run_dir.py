"""The folder of the host that an agent's container sees, with its sockets.

It is bind-mounted read-only, and once more the folder `HOLDER` in it, where the holder makes its socket. The agent can
enter neither: they are for the container's root, by group.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from acp_runtime.manager.launcher import LaunchError

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


def unusable(error: OSError) -> LaunchError:
    """Return what to tell when a folder of this machine failed."""
    sentence = f"{error.filename or 'a folder of this machine'} cannot be used: {error.strerror or error}"
    return LaunchError("runtime_dir", sentence)
