"""What dead managers left: on the engine, and the folders of sockets on this machine."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from acp_runtime.config import Config
from acp_runtime.gateway.onlooker import look
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.manager.run_dir import epoch_of_run_dir, remove_run_dir
from acp_runtime.manager.workspace import SCRATCH, SCRATCH_PREFIX
from acp_runtime.places import runtime_dirs
from acp_runtime.private import is_private
from sandbox.claimed import abandoned
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.judgement import Action, Judgement, Kind, Log
from sandbox.ownership import Owner
from sandbox.probe import FOLDER_PREFIX
from sandbox.reaper import Reaper


class Reaping:
    """The passes of one manager over the engine that answers and over this machine; each knows what the last tried."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._tried: dict[str, None] = {}

    async def run(self, owner: Owner, log: Log, *, dry_run: bool, volumes_of: frozenset[str]) -> list[Judgement]:
        """See `Launcher.reap_all`. Raises `LaunchError` when the engine cannot be used."""
        found = await self._on_engine(owner, log, dry_run=dry_run, volumes_of=volumes_of)
        elsewhere = runtime_dirs(self._environ)
        return found + await reap_folders(self._config, owner, log, dry_run=dry_run, elsewhere=elsewhere)

    async def _on_engine(self, owner: Owner, log: Log, *, dry_run: bool, volumes_of: frozenset[str]) -> list[Judgement]:
        try:
            engine = await Engine.connect(self._environ)
            try:
                reaper = Reaper(engine=engine, owner=owner, log=log, volumes_of=volumes_of, tried=self._tried)
                return await reaper.run(dry_run=dry_run)
            finally:
                await engine.close()
        except SandboxError as error:
            raise LaunchError(error.kind, str(error)) from error


async def reap_folders(
    config: Config, owner: Owner, log: Log, *, dry_run: bool, elsewhere: Sequence[Path] = ()
) -> list[Judgement]:
    """Remove what is left on this machine: folders of sockets, of probes, and of workspaces that were taken in.

    A manager before may have had the store's sockets `elsewhere`. They go where that is a folder of this user alone.
    """
    named = dict.fromkeys((config.runtime_dir, *elsewhere))
    roots = [each for each in named if await asyncio.to_thread(_is_private, each)]
    gateways = [each for root in roots for each in await reap_gateways(root, dry_run=dry_run)]
    sockets = [each for root in roots for each in await reap_run_dirs(root, owner, log, dry_run=dry_run)]
    places = ((config.runtime_dir, FOLDER_PREFIX), (config.cache_dir / SCRATCH, SCRATCH_PREFIX))
    return gateways + sockets + await reap_claimed(places, dry_run=dry_run)


async def reap_run_dirs(root: Path, owner: Owner, log: Log, *, dry_run: bool) -> list[Judgement]:
    """Remove the folders of the store's subagents that do not live; there is nothing in them but sockets."""
    store, epoch = owner.store, owner.epoch
    names = await asyncio.to_thread(_names, root / store)
    standings = await log(frozenset(names))
    judgements = []
    for name in names:
        standing = standings.get(name)
        if (later := await asyncio.to_thread(epoch_of_run_dir, root / store / name)) > epoch:
            action, why = Action.UNTOUCHED, f"a later manager (epoch {later}) has it"
        elif standing is not None and standing.attempt is not None:
            action, why = Action.KEEP, f"its subagent {name} lives"
        else:
            why = f"the log does not know its subagent {name}" if standing is None else f"its subagent {name} is over"
            action = Action.REMOVE if dry_run else Action.REMOVED
            if not dry_run:
                await asyncio.to_thread(remove_run_dir, root, store, name, epoch)
        path = str(root / store / name)
        judgements.append(Judgement(Kind.FOLDER, path, path, action, why))
    return judgements


async def reap_gateways(root: Path, *, dry_run: bool) -> list[Judgement]:
    """Remove the sockets that dead gateways left, and tell of those that live: they end by themselves."""
    judgements = []
    for each in await look(root):
        action, why = Action.KEEP, each.words
        if each.pid is None:
            action, why = (Action.REMOVE if dry_run else Action.REMOVED), "the gateway that listened there is dead"
            if not dry_run:
                await asyncio.to_thread(Path(each.socket).unlink, missing_ok=True)
        judgements.append(Judgement(Kind.GATEWAY, each.socket, each.socket, action, why))
    return judgements


async def reap_claimed(places: Iterable[tuple[Path, str]], *, dry_run: bool) -> list[Judgement]:
    """Remove folders that a process made for a moment and did not live to remove: in each place those of a prefix."""
    action, why = (Action.REMOVE if dry_run else Action.REMOVED), "the process that made it is dead"
    found = [await asyncio.to_thread(abandoned, place, prefix, remove=not dry_run) for place, prefix in places]
    return [Judgement(Kind.FOLDER, str(path), str(path), action, why) for paths in found for path in paths]


def _is_private(folder: Path) -> bool:
    try:
        return is_private(folder)
    except OSError:  # there is none
        return False


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:  # there is none
        return []
