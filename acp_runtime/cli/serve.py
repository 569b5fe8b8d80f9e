"""`subagents serve`: starts the daemon, in the background unless told otherwise, and returns once it answers.

Promises: of any number of starts at once one daemon comes out; a daemon that answers is left alone unless it is to be
replaced; what keeps one from starting is told in one sentence.
"""

import argparse
import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from acp_runtime import __version__
from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.api.unix_socket import NAME, folder_word, other_folder
from acp_runtime.cli.background import READY_SECONDS, log_to_file, start_lock
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.talk import Talk
from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.errors import StoreOwned, SubagentsError
from acp_runtime.detached import Report, detach, wait_for_end
from acp_runtime.manager.launcher import Launcher
from acp_runtime.open_files import allow_files
from acp_runtime.places import environment
from acp_runtime.undumped import leave_no_core

MIB: Final = 1024 * 1024
YEAR: Final = 31_536_000
OWNED_TRIES: Final = 40  # of 250 ms: an owner that is ending is waited for, and one that stalls until its lease is over
TRY_SECONDS: Final = 0.25
END_SECONDS: Final = 90.0
# For a thousand connections, and some of each subagent. What it starts inherits it: no more than agents have inside.
FILES: Final = 16_384


class _Refusal(Exception):  # noqa: N818 - reads as what happened
    """The daemon is not started; the text says why."""


def serve(options: argparse.Namespace) -> int:
    """Start the daemon and return the exit code."""
    talk = Talk()
    try:
        config = load(Path(options.config) if options.config is not None else None, environment())
    except ConfigError as error:
        talk.tell(f"subagents serve: {error}")
        return Exit.USAGE
    if options.idle_exit is not None and not 0 <= options.idle_exit <= YEAR:
        talk.tell(f"subagents serve: --idle-exit is {options.idle_exit:g}; give a number of seconds, 0 for never")
        return Exit.USAGE
    try:
        return _start(options, config, talk)
    except (_Refusal, SubagentsError, OSError) as error:
        talk.tell(f"subagents serve: {error}")
        return Exit.FAILED


def _start(options: argparse.Namespace, config: Config, talk: Talk) -> int:
    with start_lock(config.runtime_dir) as lock:
        running = _Running(UnixClient(config.runtime_dir / NAME, start=False))
        launcher = "local" if options.unsafe_local else "docker"
        running.check_folder(config.state_dir)
        if not options.replace and not running.may_be_started(launcher, foreground=options.foreground):
            talk.tell(f"the daemon runs already (process {running.pid}){running.otherwise(config)}")
            return Exit.DONE
        supplant = options.replace and not running.make_way()
        if options.foreground:
            talk.log()
            return _run(options, config, supplant=supplant, ready=lock.release, failed=talk.tell)
        report = Report()
        if detach():
            lock.drop()
            _in_background(options, config, report, supplant=supplant)
        if said := report.read(READY_SECONDS + (config.daemon.lease if supplant else 0)):
            raise _Refusal(said)
        talk.tell("the daemon runs")
        return Exit.DONE


class _Running:
    """The daemon that is there already, if any: its pid, or that it does not answer."""

    def __init__(self, client: UnixClient) -> None:
        self._client = client
        self._version = self._launcher = self._folder = self._file = ""
        self.pid: int | None = None
        self.stalled = False
        try:
            hello = client.hello()
            self.pid, self._version, self._launcher = int(hello["pid"]), str(hello["version"]), str(hello["launcher"])
            self._folder, self._file = str(hello.get("folder", "")), str(hello.get("configuration", ""))
        except DaemonError as error:
            if error.kind == "socket_unsafe":
                raise
            self.stalled = error.kind == "daemon_lost"

    def check_folder(self, folder: Path) -> None:
        """Raise `_Refusal` when the one that is there keeps another store."""
        if self.pid is not None and self._folder not in (ours := folder_word(folder), ""):
            raise _Refusal(other_folder(self._folder, ours))

    def may_be_started(self, launcher: str, *, foreground: bool) -> bool:
        """Return whether there is none. Raises `_Refusal` when the one that is there will not do."""
        if self.stalled:
            raise _Refusal("a daemon holds the socket and does not answer; --replace takes its place")
        if self.pid is not None and foreground:
            raise _Refusal(f"a daemon answers already (process {self.pid}); end it, or use --replace")
        if self.pid is not None and self._version != __version__:
            theirs = f"the daemon that runs is version {self._version}, this is {__version__}"
            raise _Refusal(f"{theirs}; run `subagents serve --replace` to go on with this one")
        if self.pid is not None and self._launcher != launcher:
            theirs = "as local processes (--unsafe-local)" if self._launcher == "local" else "in containers"
            raise _Refusal(f"the daemon that runs (process {self.pid}) starts agents {theirs}; end it first")
        return self.pid is None

    def otherwise(self, config: Config) -> str:
        """Say by which configuration the one that is there was started, where that is another one; else nothing."""
        if self._file == (ours := str(config.file or "")):
            return ""
        sentence = f"by the configuration {self._file or 'of no file'}, not {ours or 'of no file'}"
        return f", {sentence}; --replace has it started anew"

    def make_way(self) -> bool:
        """Have it hand over and end. Return False when it holds on to the store and has to be supplanted."""
        if self.pid is None:
            return not self.stalled
        self._client.hand_over()
        return wait_for_end(self.pid, END_SECONDS)


def _in_background(options: argparse.Namespace, config: Config, report: Report, *, supplant: bool) -> NoReturn:
    """Be the daemon in a process of its own. Nothing of the process it was forked from is run at its end."""
    code: int = Exit.FAILED
    try:
        log_to_file(config.state_dir, config.daemon.log_size * MIB, config.daemon.log_files)
        code = _run(options, config, supplant=supplant, ready=report.good, failed=report.bad)
    except OSError as error:
        advice = "set XDG_STATE_HOME to a folder of yours"
        report.bad(f"the log in {config.state_dir} cannot be written: {error.strerror}; {advice}")
    finally:
        os._exit(code)


def _run(
    options: argparse.Namespace,
    config: Config,
    *,
    supplant: bool,
    ready: Callable[[], None],
    failed: Callable[[str], None],
) -> int:
    """Be the daemon, and return the exit code at its end."""
    leave_no_core()
    allow_files(FILES)
    try:
        asyncio.run(_serve(options, config, supplant=supplant, ready=ready))
    except StoreOwned as error:
        failed(f"{error}; a daemon of yours that was started with another XDG_RUNTIME_DIR is asked with that one")
        return Exit.FAILED
    except (SubagentsError, OSError) as error:
        failed(str(error))
        return Exit.FAILED
    except Exception as error:  # noqa: BLE001 - the last door: what gets here is a bug, and is told as one
        failed(f"this is a bug, please report it: {type(error).__name__}: {error}\n{traceback.format_exc()}")
        return Exit.FAILED
    return Exit.DONE


async def _serve(options: argparse.Namespace, config: Config, *, supplant: bool, ready: Callable[[], None]) -> None:
    from acp_runtime.api.daemon import Daemon, Ending, Terms  # noqa: PLC0415 - after the fork: the parent only waits

    idle_exit = config.daemon.idle_exit if options.idle_exit is None else options.idle_exit or None
    terms = Terms(idle_exit=idle_exit, supplant=supplant)
    loop = asyncio.get_running_loop()
    left = OWNED_TRIES + (round(config.daemon.lease / TRY_SECONDS) if supplant else 0)
    while True:
        daemon = Daemon(config, _launcher(options, config), terms)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, daemon.end, Ending.STOP)
        if not (options.foreground and sys.stderr.isatty()):  # on a terminal it says that the terminal is gone
            loop.add_signal_handler(signal.SIGHUP, daemon.reload)
        try:
            await daemon.run(ready, _leave)
        except StoreOwned:
            left -= 1
            if left == 0:
                raise
            await asyncio.sleep(TRY_SECONDS)
        else:
            return


def _launcher(options: argparse.Namespace, config: Config) -> Launcher:
    if options.unsafe_local:
        from acp_runtime.manager.local_launcher import LocalLauncher  # noqa: PLC0415 - one of two is loaded

        return LocalLauncher(config.state_dir / "local", environment())
    from acp_runtime.manager.docker_launcher import DockerLauncher  # noqa: PLC0415

    return DockerLauncher(config, environment())


def _leave() -> NoReturn:
    os._exit(Exit.DONE)
