"""No core dump of this process: what is in its memory, and in its environment, holds keys of models."""

import resource
from typing import Final

NO_DUMP: Final = 1
"""Bytes. Too few for a core file; and with this one number Linux hands none to a program that collects them either."""


def leave_no_core() -> None:
    """See to it that this process, and what it starts, leaves no core dump. Raises nothing; may be called again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if soft != NO_DUMP and (hard == resource.RLIM_INFINITY or hard >= NO_DUMP):
        resource.setrlimit(resource.RLIMIT_CORE, (NO_DUMP, hard))
