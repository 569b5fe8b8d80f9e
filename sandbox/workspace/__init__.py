"""A host folder becomes a work volume, and the work in it a patch; hostile content on either side executes nothing.

snapshot = await take_snapshot(folder, scratch, environ=environ)   # on the host: reads only
guest = Guest(runner, WorkspaceLimits())                           # in a sandbox of its own, without the agent
await bring_in(guest, snapshot)
work = await take_out(guest)                                       # `git apply` takes work.patch
"""

from sandbox.workspace.guest import Completed, Guest, Runner, bring_in
from sandbox.workspace.harvest import Work, take_out
from sandbox.workspace.limits import WorkspaceLimits
from sandbox.workspace.local import LocalRunner
from sandbox.workspace.snapshot import Snapshot, take_snapshot

__all__ = [
    "Completed",
    "Guest",
    "LocalRunner",
    "Runner",
    "Snapshot",
    "Work",
    "WorkspaceLimits",
    "bring_in",
    "take_out",
    "take_snapshot",
]
