"""What `install` and `uninstall` of a client share: the command that is written, and the change, shown and made."""

import os
import sys
from pathlib import Path

from acp_runtime.cli.stdout import put
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp import config_file


def program() -> tuple[str, ...]:
    """Return this very command, by its whole path: what a client starts has another environment than this shell."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "subagents" and os.access(called, os.X_OK):
        return (str(called),)
    return (sys.executable, "-P", "-m", "acp_runtime.cli.main")


def folder(given: str) -> Path:
    """Return the folder of a workspace. Raises `Rejected` (invalid)."""
    found = Path(given).resolve()
    if not found.is_dir():
        raise Rejected("invalid", f"the workspace {found} is no folder")
    return found


def unknown_client(given: str, known: tuple[str, ...]) -> Rejected:
    """Return the refusal of a client whose files are not known."""
    return Rejected("invalid", f"--client is {one_line(given, 60)}; its configuration is known for: {', '.join(known)}")


def carry_out(change: config_file.Change, what: str, *, dry_run: bool) -> bool:
    """Put out a change, and make it unless it is a dry run; return whether something was installed."""
    for line in change.diff():
        put(line)
    talk = Talk()
    if not change.needed:
        talk.tell(f"nothing to do: {change.path} is as wanted")
        return False
    if dry_run:
        talk.tell(f"{change.path} is not changed (--dry-run)")
        return False
    config_file.perform(change)
    if what == "uninstall":
        config_file.forget_backup(change)
        talk.tell(f"{change.path} holds nothing of it any more")
        return False
    kept = f"; as it was before it is kept in {change.backup}" if change.backup.exists() else ""
    talk.tell(f"{change.path} is changed{kept}; start the client anew")
    return True
