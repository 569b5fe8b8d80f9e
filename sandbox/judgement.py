"""What is to become of things on an engine that say they are ours: pure, from what is known of their makers.

Promises: of the own store whatever its log does not know as alive is removed, but no volume whose work may still be
wanted; of other stores only containers that have ended, or that nothing will ever end, and whose maker is proven dead;
what is not exactly as one of us makes it is never touched. Who may create containers on the engine and copies names and
labels exactly is taken for us: the engine has made such a person root of its machine already.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sandbox.ownership import BUILD_STORE, Owner
from sandbox.spec import LABEL, NAME

BUILDS: Final = "acp-subagents-"  # how the names of containers begin that make what all stores of an engine share
ENDED: Final = frozenset({"created", "exited", "dead"})
_ATTEMPT: Final = re.compile(r"[1-9][0-9]{0,8}")
_ROLE: Final = re.compile(r"[a-z]{1,20}")

Started = Callable[[int], int | None]
"""Tells when a process began, as `ownership.start_time` does."""


class Kind(StrEnum):
    """What stands on an engine, or beside it on this machine."""

    CONTAINER = "container"
    VOLUME = "volume"
    FOLDER = "folder"
    WORK = "work"  # what was taken out of a workspace
    GATEWAY = "gateway"


class Action(StrEnum):
    """What is to be done, and for what was to be removed how that went."""

    REMOVE = "remove"
    REMOVED = "removed"
    FAILED = "failed"
    KEEP = "keep"  # in use, or wanted
    UNTOUCHED = "untouched"  # it is not ours, or nobody can tell


@dataclass(frozen=True, slots=True)
class Found:
    """One thing as the engine tells it. `id` is what it is removed by; `state` is a container's.

    `held` says whether a holder runs in a container; None where nobody looked, or nothing tells it.
    """

    kind: Kind
    name: str
    id: str
    labels: Mapping[str, str]
    state: str = ""
    held: bool | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the log says of one subagent.

    `attempt` is the one that lives, None when the subagent is over. `kept` says why its volumes stay; empty when the
    log knows that nobody wants them any more.
    """

    attempt: int | None
    kept: str = ""


Log = Callable[[frozenset[str]], Awaitable[Mapping[str, Standing]]]
"""Tells the standing of those of some subagents that the log of the own store knows, as of now."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to become of one thing, and why in one sentence."""

    kind: Kind
    name: str
    id: str
    action: Action
    why: str


def judge(
    found: Sequence[Found],
    owner: Owner,
    log: Mapping[str, Standing],
    started: Started,
    *,
    volumes_of: frozenset[str] = frozenset(),
) -> list[Judgement]:
    """Return one judgement on each thing, in order.

    `log` is that of the owner's store, read after the things were found; a subagent that is not in it is unknown there.
    `volumes_of` names other stores whose volumes are to go with their dead maker.
    """
    judgements = []
    for each in found:
        action, why = _judged(each, _Court(owner, log, started, volumes_of))
        judgements.append(Judgement(each.kind, each.name, each.id, action, why))
    return judgements


def subagents(found: Sequence[Found], store: str) -> frozenset[str]:
    """Return the subagents of a store that things say they belong to: those whose standing `judge` asks for."""
    own = (each.labels.get(f"{LABEL}subagent", "") for each in found if each.labels.get(f"{LABEL}store") == store)
    return frozenset(each for each in own if NAME.fullmatch(each))


@dataclass(frozen=True, slots=True)
class _Court:
    owner: Owner
    log: Mapping[str, Standing]
    started: Started
    volumes_of: frozenset[str]


_Said = tuple[Action, str]


def _judged(thing: Found, court: _Court) -> _Said:
    maker = Owner.of_labels(thing.labels)
    if maker is None:
        return Action.UNTOUCHED, "labels that say who made it are missing or malformed"
    if not _named_as_labelled(thing, maker):
        return Action.UNTOUCHED, "its name is not the one that its labels would have given it"
    if maker.store != court.owner.store:
        return _of_another_store(thing, maker, court)
    if maker.epoch > court.owner.epoch:
        return Action.UNTOUCHED, f"a later manager (epoch {maker.epoch}) made it"
    if thing.kind is Kind.VOLUME:
        return _own_volume(thing, court.log)
    return _own_container(thing, maker, court)


def _named_as_labelled(thing: Found, maker: Owner) -> bool:
    """Tell whether a thing is called what `SandboxSpec` and `AgentsVolume` call one with its labels."""
    subagent, attempt, role = (thing.labels.get(LABEL + key, "") for key in ("subagent", "attempt", "role"))
    if maker.store == BUILD_STORE:
        return thing.kind is Kind.CONTAINER and role == "build" and thing.name.startswith(BUILDS)
    if not NAME.fullmatch(subagent) or not _ROLE.fullmatch(role):
        return False
    stem = re.escape(f"acp-{maker.store[:8]}-{subagent}")
    if thing.kind is Kind.VOLUME:
        return re.fullmatch(f"{stem}-[a-z]+", thing.name) is not None
    helped = "(-[a-z]+)?"
    return (
        _ATTEMPT.fullmatch(attempt) is not None
        and re.fullmatch(f"{stem}{helped}-{attempt}{helped}", thing.name) is not None
    )


def _own_container(thing: Found, maker: Owner, court: _Court) -> _Said:
    subagent, attempt = thing.labels[f"{LABEL}subagent"], int(thing.labels[f"{LABEL}attempt"])
    standing, is_helper = court.log.get(subagent), thing.labels[f"{LABEL}role"] != "agent"
    if maker == court.owner and is_helper and thing.state == "running":
        return Action.KEEP, "this manager is at work in it"
    if standing is None:
        return _unknown_container(maker, subagent, court)
    if standing.attempt is None:
        return Action.REMOVE, f"its subagent {subagent} is over"
    if standing.attempt != attempt:
        return Action.REMOVE, f"its subagent {subagent} is at attempt {standing.attempt}, this is of attempt {attempt}"
    if is_helper and maker.epoch < court.owner.epoch:
        return Action.REMOVE, f"it is a helper that an earlier manager (epoch {maker.epoch}) left"
    return Action.KEEP, f"its subagent {subagent} lives"


def _unknown_container(maker: Owner, subagent: str, court: _Court) -> _Said:
    """Judge one that the log never heard of; a maker that lives all the same owns a copy of this store."""
    another = maker.pid != court.owner.pid and court.owner.lives_beside(maker)
    if another and maker.started and court.started(maker.pid) == maker.started:
        return Action.UNTOUCHED, f"process {maker.pid} lives and made it, though the log does not know {subagent}"
    return Action.REMOVE, f"the log does not know its subagent {subagent}"


def _own_volume(thing: Found, log: Mapping[str, Standing]) -> _Said:
    subagent = thing.labels[f"{LABEL}subagent"]
    standing = log.get(subagent)
    if standing is None:
        return Action.UNTOUCHED, f"the log does not know {subagent}, nor whether its work was taken out"
    if standing.attempt is not None:
        return Action.KEEP, f"its subagent {subagent} lives"
    if standing.kept:
        return Action.KEEP, f"its subagent {subagent} is over, but {standing.kept}"
    return Action.REMOVE, f"its subagent {subagent} is over, and nothing of it is kept"


def _of_another_store(thing: Found, maker: Owner, court: _Court) -> _Said:
    whose = f"of the store {maker.store}"
    if thing.kind is Kind.VOLUME and maker.store not in court.volumes_of:
        return Action.UNTOUCHED, f"a volume {whose}; its work may be wanted"
    if not court.owner.lives_beside(maker):
        return Action.UNTOUCHED, f"{whose}, made where this process cannot see whether its maker lives"
    started = court.started(maker.pid)
    if started is not None and 0 in (started, maker.started):
        return Action.UNTOUCHED, f"{whose}; nothing tells whether its maker, process {maker.pid}, lives"
    if started == maker.started:
        return Action.KEEP, f"{whose}; its maker, process {maker.pid}, lives"
    if thing.kind is Kind.CONTAINER and thing.state not in ENDED:
        if not _without_holder(thing):
            return Action.KEEP, f"{whose}; its maker is dead, but it has not ended: its holder will end it"
        whose = f"{whose}; nothing holds its agent any more"
    return Action.REMOVE, f"{whose}; its maker, process {maker.pid}, is dead"


def _without_holder(thing: Found) -> bool:
    return thing.held is False and thing.state == "running" and thing.labels[f"{LABEL}role"] == "agent"
