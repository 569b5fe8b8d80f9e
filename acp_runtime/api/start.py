"""Starting the daemon for a client that found none."""

import subprocess
import sys
from typing import Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.core.plaintext import printable

START_SECONDS: Final = 90.0
USAGE: Final = 2  # its exit code for a configuration that cannot be used
# -P: what a folder holds from which a client is called is never imported; -m alone would look there first.
ARGV: Final = ("-P", "-m", "acp_runtime.cli.main", "serve")


def start_daemon() -> None:
    """Run `subagents serve`, which returns once a daemon answers; one that answers already is left alone.

    Raises `DaemonError` with what it said: `config_error` for a mistake there, else `daemon_not_started`.
    """
    try:
        done = subprocess.run(
            [sys.executable, *ARGV],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        why = f"`subagents serve` did not come up within {START_SECONDS:g} s; run it with --foreground to see why"
        raise DaemonError("daemon_not_started", why) from error
    except OSError as error:
        raise DaemonError("daemon_not_started", f"{sys.executable} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = printable(done.stderr.decode("utf-8", "replace")).strip() or f"it exited with code {done.returncode}"
        said = said.removeprefix("subagents serve: ")
        kind = "config_error" if done.returncode == USAGE else "daemon_not_started"
        raise DaemonError(kind, f"the daemon could not be started: {said}")
