"""The folder of the host that an agent's container sees, with its sockets.

It is bind-mounted read-only, and once more the folder `HOLDER` in it, where the holder makes its socket. The agent can
enter neither: they are for the container's root, by group. A file in it says by its epoch which manager has it: one
that was replaced, and wakes up in the middle of a start or an end, takes nothing from its successor's agent.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from acp_runtime import private
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.private import NotPrivateError

SOCKET: Final = "model.sock"
EGRESS_SOCKET: Final = "egress.sock"
HOLDER: Final = "holder"
EPOCH: Final = "epoch"


def make_private(folder: Path, variable: str = "XDG_RUNTIME_DIR") -> Path:
    """Make a folder of this user alone, see `private.make_private`. Raises `LaunchError`, OSError."""
    try:
        return private.make_private(folder, variable)
    except NotPrivateError as error:
        raise LaunchError("runtime_dir", str(error)) from error


def make_run_dir(root: Path, store: str, subagent: str, epoch: int, *, keep: bool = False) -> Path:
    """Make the folder of one agent, with the folder `HOLDER` in it; anew, or with `keep` whichever is there already.

    A container that goes on has the folders themselves mounted, not their names: one made anew is none that it sees.
    Raises `LaunchError` (fenced) for one of a later epoch, OSError.
    """
    folder = make_private(root) / store / subagent
    if (found := epoch_of_run_dir(folder)) > epoch:
        raise LaunchError("fenced", f"a later manager (epoch {found}) has {folder}; that of epoch {epoch} has to end")
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    for path, mode in ((folder, 0o750), (folder / HOLDER, 0o770)):
        path.mkdir(parents=True, mode=0o700, exist_ok=keep)
        path.chmod(mode)
    (folder / f"{EPOCH}.new").write_text(str(epoch))
    (folder / f"{EPOCH}.new").replace(folder / EPOCH)
    return folder


def remove_run_dir(root: Path, store: str, subagent: str, epoch: int) -> bool:
    """Remove an agent's folder, and its store's when that was the last one in it. False for one of a later epoch."""
    if epoch_of_run_dir(root / store / subagent) > epoch:
        return False
    shutil.rmtree(root / store / subagent, ignore_errors=True)
    with suppress(OSError):
        (root / store).rmdir()
    return True


def epoch_of_run_dir(folder: Path) -> int:
    """Return the epoch of the manager that has a folder, 0 where nothing tells it."""
    try:
        return int((folder / EPOCH).read_text())
    except (OSError, ValueError):
        return 0


def unusable(error: OSError) -> LaunchError:
    """Return what to tell when a folder of this machine failed."""
    sentence = f"{error.filename or 'a folder of this machine'} cannot be used: {error.strerror or error}"
    return LaunchError("runtime_dir", sentence)
