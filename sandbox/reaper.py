"""The reaper: looks over everything on an engine that says it is ours, and removes what nobody will ever want.

Promises: what it removes was judged a second time, by its labels and by the log as they were a moment before; one
removal that fails, or that takes all the time of its pass, costs the others nothing but that pass: the next one tries
it last.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sandbox.engine import Engine
from sandbox.errors import EngineDenied, EngineUnreachable, SandboxError, SandboxGone
from sandbox.judgement import Action, Found, Judgement, Kind, Log, Started, judge, subagents
from sandbox.ownership import Owner, start_time
from sandbox.programs_volume import HOLDER, PROGRAMS_MOUNT
from sandbox.spec import LABEL

MOST: Final = 200  # removals of one pass
PASS_SECONDS: Final = 60.0  # less than any door waits for an answer


@dataclass(frozen=True, kw_only=True)
class Reaper:
    """One owner's reaper on one engine. `volumes_of`: other stores whose volumes go when their maker is dead.

    `tried`: the ids of what earlier passes could not remove, the longest untried first. Give each pass the same one.
    """

    engine: Engine
    owner: Owner
    log: Log
    volumes_of: frozenset[str] = frozenset()
    started: Started = start_time
    most: int = MOST
    bound: float = PASS_SECONDS
    tried: dict[str, None] = field(default_factory=dict)

    async def run(self, *, dry_run: bool = False) -> list[Judgement]:
        """Judge all there is, and remove what is to be removed: containers first, for they hold volumes.

        What the bound left for the next pass, and with `dry_run` everything, has the action REMOVE still. Raises
        EngineError when the engine does not tell what there is, and what `log` raises.
        """
        found = await self._found()  # before the log is read: whatever was there then had been logged
        log = await self.log(subagents(found, self.owner.store))
        judgements = judge(found, self.owner, log, self.started, volumes_of=self.volumes_of)
        if not dry_run:
            await self._remove(found, judgements)
        return judgements

    async def _found(self) -> list[Found]:
        of_any_store = {f"{LABEL}store": None}
        containers = await self.engine.containers(of_any_store)
        volumes = await self.engine.volumes(of_any_store)
        return [*[await self._looked_into(_container(each)) for each in containers], *map(_volume, volumes)]

    async def _looked_into(self, thing: Found) -> Found:
        """Look whether a holder runs in a container, where what becomes of it hangs on that."""
        without = replace(thing, held=False)
        here, there = judge([thing, without], self.owner, {}, self.started, volumes_of=self.volumes_of)
        return thing if here == there else replace(thing, held=await _held(self.engine, thing.id))

    async def _remove(self, found: Sequence[Found], judgements: list[Judgement]) -> None:
        """Carry out the judgements, and put in their places what came of it."""
        due = self._in_turn([number for number, each in enumerate(judgements) if each.action is Action.REMOVE], found)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.bound):
                for number in due[: self.most]:
                    self._last_in_turn(found[number].id)
                    try:
                        judgements[number] = await self._removed(found[number])
                    except (EngineUnreachable, EngineDenied) as error:
                        judgements[number] = replace(judgements[number], action=Action.FAILED, why=str(error))
                        return
                    if judgements[number].action is not Action.FAILED:
                        self.tried.pop(found[number].id, None)

    def _in_turn(self, due: Sequence[int], found: Sequence[Found]) -> list[int]:
        """Return what was never tried, then the rest from the one whose last try is the longest ago."""
        for gone in self.tried.keys() - {each.id for each in found}:
            del self.tried[gone]
        turns = {ident: turn for turn, ident in enumerate(self.tried)}
        return sorted(due, key=lambda number: turns.get(found[number].id, -1))

    def _last_in_turn(self, ident: str) -> None:
        self.tried.pop(ident, None)
        self.tried[ident] = None

    async def _removed(self, thing: Found) -> Judgement:
        """Judge a thing again as it is now, and remove it when the judgement is the same."""
        judgement = Judgement(thing.kind, thing.name, thing.id, Action.REMOVED, "somebody else removed it meanwhile")
        try:
            now = await self._again(thing)
            if now is None:
                return judgement
            log = await self.log(subagents([now], self.owner.store))
            [judgement] = judge([now], self.owner, log, self.started, volumes_of=self.volumes_of)
            if judgement.action is not Action.REMOVE:
                return judgement
            if thing.kind is Kind.CONTAINER:
                await self.engine.remove_container(thing.id)
            else:
                await self.engine.remove_volume(thing.id)
        except (EngineUnreachable, EngineDenied):
            raise
        except SandboxError as error:
            return replace(judgement, action=Action.FAILED, why=str(error))
        return replace(judgement, action=Action.REMOVED)

    async def _again(self, thing: Found) -> Found | None:
        if thing.kind is Kind.VOLUME:
            volume = await self.engine.inspect_volume(thing.id)
            return None if volume is None else _volume(volume)
        try:
            now = await self.engine.inspect_container(thing.id)
        except SandboxGone:
            return None
        labels = now["Config"]["Labels"] or {}
        found = Found(Kind.CONTAINER, now["Name"].lstrip("/"), now["Id"], labels, now["State"]["Status"])
        return await self._looked_into(found)


async def _held(engine: Engine, container: str) -> bool | None:
    """Tell whether a holder runs in a container; None where that cannot be seen, as its first process cannot.

    Whoever looks like a holder counts as one: an agent can keep its own container so, and nobody else's.
    """
    try:
        lines = await engine.command_lines(container)
    except SandboxError:
        return None
    if not any(PROGRAMS_MOUNT in line for line in lines):
        return None
    return any(line.startswith(HOLDER) for line in lines)


def _container(listed: Mapping[str, Any]) -> Found:
    name = next(iter(listed["Names"] or ()), "").lstrip("/")
    return Found(Kind.CONTAINER, name, listed["Id"], listed["Labels"] or {}, listed["State"])


def _volume(listed: Mapping[str, Any]) -> Found:
    return Found(Kind.VOLUME, listed["Name"], listed["Name"], listed["Labels"] or {})
