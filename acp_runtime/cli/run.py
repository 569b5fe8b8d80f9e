"""`subagents run`: one task, one agent, one container; its work comes out and nothing stays.

A thin caller of `Runtime` with a private store, so any number of runs work side by side.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from acp_runtime.cli.exit_codes import Exit, exit_for
from acp_runtime.cli.output import Format, Output, Result
from acp_runtime.cli.progress import Progress
from acp_runtime.config import Config, ConfigError, environment, load
from acp_runtime.core.errors import Rejected, StoreError
from acp_runtime.core.model import Permissions
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.manager.launcher import CheckResult, Launcher, LaunchError
from acp_runtime.models.route import Route
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.views import SubagentView

PARENT = "run"
WAIT_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,254}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UsageError(Exception):
    """The command line cannot be used; nothing was started."""


def run(options: argparse.Namespace) -> int:
    """Run one task and return the exit code; every failure is one sentence on standard error."""
    try:
        config = load(options.config, environment())
        request = _request(options, config)
        output = _output(options)
    except (UsageError, ConfigError) as error:
        return _fail(error, Exit.USAGE)
    try:
        return asyncio.run(_Run(options, config, request, output).go())
    except Rejected as error:
        return _fail(error, Exit.USAGE)
    except StoreError as error:
        return _fail(error, Exit.FAILED)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _fail(error: Exception, code: Exit) -> Exit:
    sys.stderr.write(f"subagents run: {printable(str(error))}\n")
    return code


def _request(options: argparse.Namespace, config: Config) -> SpawnRequest:
    for name in ("image", "model"):
        value = getattr(options, name)
        if value is not None and not _NAME.fullmatch(value):
            raise UsageError(f"--{name} {value[:60]!r} is not a name: letters, digits and ._:@/+- only")
    _positive("--timeout", options.timeout)
    _positive("--check-timeout", options.check_timeout)
    _model(options)
    limits = replace(config.limits, task=options.timeout) if options.timeout is not None else config.limits
    return SpawnRequest(
        agent=options.agent,
        workspace=options.workspace,
        task=options.task,
        image=options.image,
        model=options.model,
        model_url=options.model_url,
        model_key_env=options.model_key_env,
        permissions=Permissions(options.permissions),
        limits=limits,
    )


def _positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value <= 31_536_000:
        raise UsageError(f"{name} is {value:g}; it must be a number of seconds above 0 and at most a year")


def _model(options: argparse.Namespace) -> None:
    name = options.model_key_env
    if name is not None:
        if not _VARIABLE.fullmatch(name):
            raise UsageError(f"--model-key-env {name[:60]!r} is not the name of a variable (give its name, no key)")
        if not environment().get(name):
            raise UsageError(f"--model-key-env {name}: the variable is not set or empty; export it first")
    if options.model_url is not None:
        try:
            Route.parse(options.model_url)
        except Rejected as error:
            raise UsageError(f"--model-url: {error}") from error


def _output(options: argparse.Namespace) -> Output:
    default: Format = "text" if sys.stdout.isatty() and options.out is None else "patch"
    try:
        return Output(options.output or default, options.out)
    except OSError as error:
        raise UsageError(f"--out {one_line(str(options.out), 200)} cannot be written: {error.strerror}") from error


class _Run:
    """One run from the spawn to the result."""

    def __init__(self, options: argparse.Namespace, config: Config, request: SpawnRequest, output: Output) -> None:
        self._options = options
        self._config = config
        self._request = request
        self._output = output
        self._progress = Progress(self._write)
        self._signals = 0
        self._terminated = False
        self._actions: set[asyncio.Task[None]] = set()

    async def go(self) -> Exit:
        """Run in a private folder that is gone afterwards."""
        runs = self._config.state_dir / "runs"
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
        try:
            opened = Runtime.open(
                folder / "store.db", launcher=self._launcher(folder), config=self._config, progress=self._progress.say
            )
            async with opened as runtime:
                return await self._with(runtime)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _launcher(self, folder: Path) -> Launcher:
        if self._options.unsafe_local:
            from acp_runtime.manager.local_launcher import LocalLauncher  # noqa: PLC0415 - one of two is loaded

            self._progress.say("UNSAFE: the agent runs without a container, with your rights")
            return LocalLauncher(folder / "local", environment())
        from acp_runtime.manager.docker_launcher import DockerLauncher  # noqa: PLC0415

        return DockerLauncher(self._config, environment())

    async def _with(self, runtime: Runtime) -> Exit:
        view = await runtime.spawn(PARENT, self._request)
        with self._handled_signals(runtime, view.id):
            view = await self._follow(runtime, view.id)
            check = await self._check(runtime, view)
            finished = await runtime.stop(PARENT, view.id, finished=view.newest.state.over)
            await self._drain(runtime, view.id)
        if view.newest.state.over:
            view = replace(finished, requests=())
        work = await runtime.work(PARENT, view.id)
        result = Result(view, work, check, self._code(view, check))
        if view.requests:
            self._progress.say(f"nobody is here to answer: {view.requests[0].title}")
        self._deliver(result)
        return result.code

    def _code(self, view: SubagentView, check: CheckResult | None) -> Exit:
        if self._terminated:
            return Exit.TERMINATED
        if self._signals and view.newest.state.over and view.newest.state != "completed":
            return Exit.CANCELLED
        code = exit_for(view, allow_empty=self._options.allow_empty)
        return Exit.FAILED if code is Exit.DONE and check is not None and check.exit_code != 0 else code

    async def _follow(self, runtime: Runtime, subagent: str) -> SubagentView:
        """Show what happens until the task has ended or nobody here can answer the agent."""
        self._seen = 0
        while True:
            tick = runtime.tick
            await self._drain(runtime, subagent)
            view = await runtime.status(PARENT, subagent)
            if view.newest.state.over or view.requests:
                return view
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await runtime.changed(tick)

    async def _drain(self, runtime: Runtime, subagent: str) -> None:
        while rows := await runtime.events(PARENT, subagent, since=self._seen):
            for row in rows:
                self._progress.show(row.event)
                self._output.event(row.seq, row.event)
            self._seen = rows[-1].seq

    async def _check(self, runtime: Runtime, view: SubagentView) -> CheckResult | None:
        if self._options.check is None or view.newest.state != "completed" or view.status.over:
            return None
        self._progress.say(f"checking: {self._options.check}")
        try:
            return await runtime.check(PARENT, view.id, self._options.check, seconds=self._options.check_timeout)
        except (LaunchError, Rejected) as error:
            return CheckResult(Exit.FAILED, str(error))

    def _deliver(self, result: Result) -> None:
        patch = self._keep_patch(result) if self._output.form == "text" else None
        try:
            self._output.result(result, patch)
        except OSError:
            if kept := self._keep_patch(result):
                self._write(f"the output could not be written; the work is in {kept}")
            raise
        if self._output.form != "text":
            self._write(f"{result.view.name}: {result.view.newest.headline}: {result.view.newest.cause}")

    def _keep_patch(self, result: Result) -> Path | None:
        if result.work is None or not result.work.patch:
            return None
        folder = self._config.state_dir / "patches"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{result.view.name}-{result.view.id}.patch"
        path.write_bytes(result.work.patch)
        return path

    def _handled_signals(self, runtime: Runtime, subagent: str) -> contextlib.ExitStack:
        """First Ctrl-C cancels politely, the second stops; SIGTERM and SIGHUP stop at once."""
        loop = asyncio.get_running_loop()
        stack = contextlib.ExitStack()

        def interrupted() -> None:
            self._signals += 1
            if self._signals == 1:
                self._write("cancelling; press Ctrl-C again to stop at once")
                self._act(runtime.cancel(PARENT, subagent, "cancelled by Ctrl-C"))
            else:
                self._act(runtime.stop(PARENT, subagent, cause="stopped by a second Ctrl-C"))

        def terminated() -> None:
            self._terminated = True
            self._act(runtime.stop(PARENT, subagent, cause="the run was told to end"))

        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGINT: interrupted,
            signal.SIGTERM: terminated,
            signal.SIGHUP: terminated,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
            stack.callback(loop.remove_signal_handler, number)
        return stack

    def _act(self, verb: Coroutine[Any, Any, object]) -> None:
        async def act() -> None:
            with contextlib.suppress(Rejected):
                await verb

        task = asyncio.create_task(act())
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)

    def _write(self, line: str) -> None:
        if not self._options.quiet:
            sys.stderr.write(printable(line) + "\n")
            sys.stderr.flush()
