"""How many files a process may have open. Connections are files too, and the usual 1,024 are too few for a server."""

import resource
from contextlib import suppress

__all__ = ["allow_files"]


def allow_files(most: int) -> None:
    """Let this process, and what it starts, have so many files open, or as many as it may allow itself; never fewer.

    Raises nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
