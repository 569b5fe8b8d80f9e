"""Processes of this machine, by what is in their environment, and their end."""

import asyncio
import os
import select
from pathlib import Path


def processes_with(word):
    """The ids of those that have a word in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(word).encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def watch(pids):
    """Handles on processes, for `died`; those that are gone already have none."""
    handles = []
    for pid in pids:
        try:
            handles.append(os.pidfd_open(int(pid)))
        except ProcessLookupError:
            continue
    return handles


async def died(handles):
    """Wait for the end of processes: a killed child of a child ends a moment after its parent is reaped."""
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert await asyncio.to_thread(poll.poll, 30_000)
        os.close(handle)
