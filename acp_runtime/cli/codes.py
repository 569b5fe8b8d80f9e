"""The exit codes of the command line, in one table."""

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says; `docs/cli.md` shows this table."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    EMPTY = 3
    REFUSED = 4
    NEEDS_ANSWER = 5
    UNKNOWN = 7
    ENGINE = 69
    TIMED_OUT = 124
    CANCELLED = 130
    TERMINATED = 143


MEANINGS: dict[Exit, str] = {
    Exit.DONE: "the task is done",
    Exit.FAILED: "the task or the check after it failed, or what was asked for could not be done",
    Exit.USAGE: "the command line or the configuration is wrong; nothing was started",
    Exit.EMPTY: "completed, but empty or suspect (see --allow-empty)",
    Exit.REFUSED: "the agent refused the task",
    Exit.NEEDS_ANSWER: "the agent needs an answer or a login",
    Exit.UNKNOWN: "the agent, its sandbox or the daemon was lost; the outcome is unknown",
    Exit.ENGINE: "the daemon, its store, the container engine or an image cannot be used",
    Exit.TIMED_OUT: "a deadline passed",
    Exit.CANCELLED: "cancelled by Ctrl-C",
    Exit.TERMINATED: "stopped by SIGTERM or SIGHUP",
}
