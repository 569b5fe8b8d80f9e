"""`subagents run`: one task, one agent, one container; its work comes out and nothing stays.

A thin caller of `Runtime` with a private store, so any number of runs work side by side. Work that was done is never
thrown away: where the output cannot take it, it is kept in a file that is named.
"""

import argparse
import asyncio
import contextlib
import shutil
import tempfile
import traceback
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.dead_runs import take_up_dead_runs
from acp_runtime.cli.exit_codes import exit_for
from acp_runtime.cli.options import UsageError, check_names, open_output, raised, read_request
from acp_runtime.cli.output import Output
from acp_runtime.cli.progress import Progress
from acp_runtime.cli.result import Result
from acp_runtime.cli.signals import Signals
from acp_runtime.cli.talk import Talk
from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.errors import Rejected, StoreError, SubagentsError
from acp_runtime.core.model import TaskState
from acp_runtime.manager.launcher import CheckResult, Launcher, LaunchError
from acp_runtime.manager.work import keep_patch
from acp_runtime.places import environment
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.views import SubagentView

ORPHAN_SECONDS: Final = 300.0

PARENT = "run"
WAIT_SECONDS = 3600.0
CHECK_LINES = 20


def run(options: argparse.Namespace) -> int:
    """Run one task and return the exit code; every failure is one sentence on standard error."""
    talk = Talk(quiet=options.quiet)
    talk.log()
    try:
        return _run(options, talk)
    except (UsageError, ConfigError, Rejected) as error:
        return _fail(talk, str(error), Exit.USAGE)
    except StoreError as error:
        return _fail(talk, str(error), Exit.ENGINE)
    except KeyboardInterrupt:
        return Exit.CANCELLED
    except Exception as error:  # noqa: BLE001 - the last door: what gets here is a bug, and is told as one
        talk.tell(traceback.format_exc())
        return _fail(talk, f"this is a bug, please report it: {type(error).__name__}: {error}", Exit.FAILED)


def _fail(talk: Talk, sentence: str, code: Exit) -> Exit:
    talk.tell(f"subagents run: {sentence}")
    return code


def _run(options: argparse.Namespace, talk: Talk) -> Exit:
    check_names(options)
    config = load(Path(options.config) if options.config is not None else None, environment())
    request = read_request(options, config)
    output = open_output(options)
    try:
        return asyncio.run(_Run(options, config, request, output, talk).go())
    finally:
        output.close()


class _Run:
    """One run from the spawn to the result."""

    def __init__(
        self, options: argparse.Namespace, config: Config, request: SpawnRequest, output: Output, talk: Talk
    ) -> None:
        self._options = options
        # Nobody comes back for a run that was killed but to save what it had done.
        self._config = replace(raised(config, request), orphan_ttl=min(config.orphan_ttl, ORPHAN_SECONDS))
        self._request = request
        self._output = output
        self._talk = talk
        self._progress = Progress(talk.say)
        self._signals = Signals(self._signalled)
        self._running: tuple[Runtime, str] | None = None
        self._checking: asyncio.Task[CheckResult] | None = None
        self._unchecked = False
        self._actions: set[asyncio.Task[None]] = set()
        self._seen = 0
        self._folder = Path()
        self._keep_folder = False

    async def go(self) -> Exit:
        """Run in a private folder that is gone afterwards, unless work that nobody else has lies in it."""
        with self._signals.handled():
            if not self._options.unsafe_local:
                await self._take_up_dead_runs()
            folder = self._folder = _private_folder(self._config.state_dir / "runs")
            try:
                opened = Runtime.open(
                    folder / "store.db",
                    launcher=self._launcher(folder),
                    config=self._config,
                    progress=lambda _subagent, sentence: self._progress.say(sentence),
                )
                async with opened as runtime:
                    return await self._with(runtime)
            finally:
                if not self._keep_folder:
                    shutil.rmtree(folder, ignore_errors=True)

    def _launcher(self, folder: Path) -> Launcher:
        if self._options.unsafe_local:
            from acp_runtime.manager.local_launcher import LocalLauncher  # noqa: PLC0415 - one of two is loaded

            return LocalLauncher(folder / "local", environment())
        from acp_runtime.manager.docker_launcher import DockerLauncher  # noqa: PLC0415

        return DockerLauncher(self._config, environment())

    async def _take_up_dead_runs(self) -> None:
        folder = self._config.state_dir
        await take_up_dead_runs(self._config, lambda: self._launcher(folder), parent=PARENT, say=self._progress.say)

    async def _with(self, runtime: Runtime) -> Exit:
        if self._signals.code is not None:
            return self._signals.code
        view = await runtime.spawn(PARENT, self._request)
        self._running = runtime, view.id
        if self._options.unsafe_local:
            self._progress.say("UNSAFE: the agent runs without a container, with your rights")
        self._signalled()
        view = await self._follow(runtime, view.id)
        check = await self._check(runtime, view)
        finished = await runtime.stop(PARENT, view.id, finished=view.newest.state.over)
        self._running = None
        await self._drain(runtime, view.id)
        self._progress.finish()
        if view.newest.state.over:
            view = replace(finished, requests=())
        work = await runtime.work(PARENT, view.id)
        lost = work is None and view.session_id is not None
        result = Result(view, work, check, self._code(view, check, lost=lost))
        if lost:
            self._tell_lost(view)
        return await self._deliver(result)

    def _code(self, view: SubagentView, check: CheckResult | None, *, lost: bool) -> Exit:
        asked, state = self._signals.code, view.newest.state
        if asked is Exit.TERMINATED:
            return asked
        if asked is not None and (self._unchecked or (state.over and state is not TaskState.COMPLETED)):
            return asked
        code = exit_for(view, allow_empty=self._options.allow_empty)
        if code is Exit.DONE and (lost or (check is not None and check.exit_code != 0)):
            return Exit.FAILED
        return code

    async def _follow(self, runtime: Runtime, subagent: str) -> SubagentView:
        """Show what happens until the task has ended or nobody here can answer the agent."""
        while True:
            tick = runtime.tick
            await self._drain(runtime, subagent)
            view = await runtime.status(PARENT, subagent)
            if view.newest.state.over or view.held:
                return view
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await runtime.changed(tick)

    async def _drain(self, runtime: Runtime, subagent: str) -> None:
        while rows := await runtime.events(PARENT, subagent, since=self._seen):
            for row in rows:
                self._progress.show(row.event)
                await self._output.event(row)
            self._seen = rows[-1].seq

    async def _check(self, runtime: Runtime, view: SubagentView) -> CheckResult | None:
        """Run the check after a completed task. None when there is none, or a signal ended it."""
        command: str | None = self._options.check
        if command is None or view.newest.state is not TaskState.COMPLETED:
            return None
        if self._signals.code is not None:
            self._unchecked = True
            return None
        self._progress.say(f"checking: {command}")
        seconds: float = self._options.check_timeout
        self._checking = asyncio.create_task(runtime.check(PARENT, view.id, command, seconds=seconds))
        try:
            return await self._checking
        except asyncio.CancelledError:
            self._unchecked = True
            return None
        except (LaunchError, Rejected) as error:
            return CheckResult(Exit.FAILED, str(error))
        finally:
            self._checking = None

    # ---- the end

    async def _deliver(self, result: Result) -> Exit:
        text = self._output.form == "text"
        await self._output.result(result, self._keep_patch(result) if text else None)
        if self._output.failure is not None:
            self._talk.tell(f"the output could not be written: {self._output.failure}")
            if kept := self._keep_patch(result):
                self._talk.tell(f"the work is kept; {result.apply_line(kept)}")
            return Exit.FAILED if result.code is Exit.DONE else result.code
        if not text:
            self._summarise(result)
        return result.code

    def _summarise(self, result: Result) -> None:
        """Say on standard error what the patch and the JSON lines do not say to a person; failures also when quiet."""
        tell = self._talk.say if result.code is Exit.DONE else self._talk.tell
        for notice in result.work.notices if result.work is not None else ():
            self._progress.say(notice)
        if result.check is not None and result.check.exit_code != 0:
            tell("\n".join([*result.check.output.splitlines()[-CHECK_LINES:], result.check_sentence]))
        if self._unchecked:
            tell("the check was not made, or not to its end")
        tell(result.sentence)
        if self._output.form == "patch" and result.work is not None and result.work.patch and self._output.path:
            self._talk.say(result.apply_line(self._output.path))

    def _keep_patch(self, result: Result) -> Path | None:
        """Write the patch to a file that stays, and return its path; None when there is nothing to keep."""
        if result.work is None or not result.work.patch:
            return None
        view = result.view
        try:
            return keep_patch(self._config.state_dir, view.name, view.id, result.work.patch)
        except OSError as error:
            self._keep_folder = True
            self._talk.tell(f"{error.filename} cannot be written: {error.strerror}")
            return self._folder / "work" / f"{view.id}.patch"

    def _tell_lost(self, view: SubagentView) -> None:
        if self._options.unsafe_local:
            self._keep_folder = True
            where = f"the folder {self._folder}"
        else:
            where = f"the engine's volumes with the label io.acp-subagents.subagent={view.id}"
        self._talk.tell(f"the work could not be taken out; what there is of it is in {where}")

    # ---- signals

    def _signalled(self) -> None:
        """First Ctrl-C: cancel politely, and check no more. Afterwards, and at SIGTERM and SIGHUP: stop at once."""
        if self._signals.code is None:
            return
        if self._checking is not None:
            self._checking.cancel()
        if self._signals.urgent or self._running is None:
            self._output.abandon()
        if self._running is None:
            return
        runtime, subagent = self._running
        if self._signals.urgent:
            self._act(runtime.stop(PARENT, subagent, reason="the run was told to end"))
        else:
            self._talk.say("cancelling; press Ctrl-C again to stop at once")
            self._act(runtime.cancel(PARENT, subagent, "cancelled by Ctrl-C"))

    def _act(self, verb: Coroutine[Any, Any, object]) -> None:
        async def act() -> None:
            with contextlib.suppress(SubagentsError):
                await verb

        task = asyncio.create_task(act())
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)


def _private_folder(parent: Path) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    except OSError as error:
        advice = "set XDG_STATE_HOME to a folder that you may write to"
        raise UsageError(f"no folder can be made in {parent}: {error.strerror}; {advice}") from error
