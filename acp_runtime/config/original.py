"""The keys of the original proposal, `[delegation.background_subagents]` and `[delegation.async_subagents]`.

They are accepted with their names, values and defaults, and said in native keys; `TRANSLATION` is the whole mapping,
beside the one variable of the original (`CHILDREN`).
A table that is there brings its defaults, except where a native key is given. The same thing said by two keys is a
mistake, not a guess.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from acp_runtime.config.mistakes import ConfigError
from acp_runtime.config.nested import Nested, has, paths, put
from acp_runtime.config.orchestration import TABLE
from acp_runtime.config.table import Name, Seconds, Table, Variable, Word, below, key
from acp_runtime.session.catalogue import AgentKind, builtin_kinds

ROOT: Final = "delegation"
BACKGROUND: Final = "background_subagents"
ASYNC: Final = "async_subagents"
CHILDREN: Final = "DELEGATION_MAX_CONCURRENT_CHILDREN"
Number = Annotated[int, Field(ge=0, le=100_000)]
Place = Callable[[Sequence[str]], str]

TRANSLATION: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("max_spawn_depth",): (TABLE, "max_spawn_depth"),
    ("max_concurrent_children",): (TABLE, "max_concurrent_children"),
    ("orchestrator_enabled",): (TABLE, "orchestrator_enabled"),
    (BACKGROUND, "enabled"): ("enabled",),
    (BACKGROUND, "max_per_session"): ("admission", "per_parent"),
    (BACKGROUND, "max_global"): ("admission", "total"),
    (BACKGROUND, "idle_timeout_seconds"): ("limits", "idle"),
    (BACKGROUND, "max_lifetime_seconds"): ("limits", "lifetime"),
    (BACKGROUND, "default_agent_kind"): ("default_agent",),
    (ASYNC, "enabled"): ("one_shot", "enabled"),
    (ASYNC, "max_per_session"): ("one_shot", "per_parent"),
    (ASYNC, "max_global"): ("one_shot", "total"),
    (ASYNC, "idle_timeout_seconds"): ("one_shot", "idle"),
    (ASYNC, "max_duration_seconds"): ("one_shot", "duration"),
    (ASYNC, "output_dir"): ("one_shot", "output_dir"),
}


class KindTable(Table):
    """`agents.NAME`: how an agent kind is started. One of ours starts from what it is here."""

    command: Annotated[Any, WithJsonSchema({"type": "string"})] = key(None, "the program, as in the sandbox")
    args: Annotated[Any, WithJsonSchema({"type": "array", "items": {}})] = key(None, "its arguments, a list of texts")
    cwd_mode: Literal["session"] = key("session", "the agent works in the folder of its session")
    env: dict[Variable, Word] = key({}, "its variables, put on top of those of the kind")


class BackgroundTable(Table):
    """`[delegation.background_subagents]`."""

    enabled: bool = key(default=True, sentence="`enabled`")
    max_per_session: Number = key(3, "`admission.per_parent`; 0 counts as 1", "subagents")
    max_global: Number = key(8, "`admission.total`; 0 counts as 1", "subagents")
    idle_timeout_seconds: Seconds = key(900.0, "`limits.idle`", "s")
    max_lifetime_seconds: Seconds = key(7200.0, "`limits.lifetime`", "s")
    default_agent_kind: Name = key("opencode", "`default_agent`")
    agents: dict[Name, KindTable] = Field(default_factory=dict)


class AsyncTable(Table):
    """`[delegation.async_subagents]`."""

    enabled: bool = key(default=True, sentence="`one_shot.enabled`")
    max_per_session: Number = key(2, "`one_shot.per_parent`; 0 counts as 1", "subagents")
    max_global: Number = key(4, "`one_shot.total`; 0 counts as 1", "subagents")
    idle_timeout_seconds: Seconds = key(900.0, "`one_shot.idle`", "s")
    max_duration_seconds: Seconds = key(1800.0, "`one_shot.duration`", "s")
    output_dir: Annotated[Word, AfterValidator(below)] = key(".hermes-async-delegates", "`one_shot.output_dir`")


class DelegationTable(Table):
    """`[delegation]`: the original's keys."""

    max_spawn_depth: Annotated[Any, WithJsonSchema({"type": "integer"})] = key(
        None, "`orchestration.max_spawn_depth`", "levels"
    )
    max_concurrent_children: Annotated[Any, WithJsonSchema({"type": "integer"})] = key(
        None, "`orchestration.max_concurrent_children`", "subagents"
    )
    orchestrator_enabled: Annotated[Any, WithJsonSchema({"type": "boolean"})] = key(
        None, "`orchestration.orchestrator_enabled`"
    )
    background_subagents: BackgroundTable = BackgroundTable()
    async_subagents: AsyncTable = AsyncTable()


def weakest(environ: Mapping[str, str]) -> tuple[Nested, dict[str, str]]:
    """Return what the original's variable sets where nothing else does, and the origin of its key."""
    given = environ.get(CHILDREN)
    if not given:
        return {}, {}
    path = TRANSLATION[("max_concurrent_children",)]
    found: Nested = {}
    put(found, path, given)
    return found, {".".join(path): f"environment {CHILDREN}"}


def translate(table: DelegationTable, native: dict[str, Any], place: Place) -> dict[str, str]:
    """Say the original's keys in native ones, into `native`; return where each came from.

    Raises `ConfigError` with every conflict and every agent kind that cannot be started.
    """
    mistakes = [*_conflicts(table, native, place)]
    kinds = table.background_subagents.agents
    mistakes += [said for name, entry in kinds.items() for said in _kind_mistakes(name, entry, place)]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    origins = {}
    for theirs, path in TRANSLATION.items():
        if theirs[0] in table.model_fields_set and not has(native, path):
            value = getattr(_holder(table, theirs), theirs[-1])
            put(native, path, _floor(value) if theirs[1:] else value)
            origins[".".join(path)] = place((ROOT, *theirs))
    for name, entry in kinds.items():
        path = ("agents", name)
        put(native, path, _kind(name, entry))
        origins |= {
            ".".join(each): place((ROOT, BACKGROUND, "agents", name)) for each in paths(native["agents"][name], path)
        }
    return origins


def _holder(table: DelegationTable, theirs: tuple[str, ...]) -> Table:
    """Return the table in which a key of the original stands."""
    section: Table = getattr(table, theirs[0]) if theirs[1:] else table
    return section


def _conflicts(table: DelegationTable, native: Mapping[str, Any], place: Place) -> Iterator[str]:
    said: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        ((ROOT, *theirs), path)
        for theirs, path in TRANSLATION.items()
        if theirs[-1] in _holder(table, theirs).model_fields_set
    ]
    said += [((ROOT, BACKGROUND, "agents", name), ("agents", name)) for name in table.background_subagents.agents]
    for theirs, ours in said:
        if has(native, ours):
            both = f"{'.'.join(ours)} ({place(ours)}) says the same"
            yield f"{place(theirs)}: {'.'.join(theirs)}: {both}; keep one of the two"


def _kind_mistakes(name: str, entry: KindTable, place: Place) -> Iterator[str]:
    path = (ROOT, BACKGROUND, "agents", name)
    command, args = entry.command, entry.args
    if command is None and name not in builtin_kinds():
        yield f"{place(path)}: background_subagents agent {name!r} is missing a command."
    elif command is not None and not (isinstance(command, str) and command.strip() and "\0" not in command):
        yield f"{place((*path, 'command'))}: background_subagents agent {name!r} is missing a command."
    good = args is None or (isinstance(args, list) and all(isinstance(each, str) and "\0" not in each for each in args))
    if not good:
        yield f"{place((*path, 'args'))}: background_subagents agent {name!r} args must be a list of strings."


def _kind(name: str, entry: KindTable) -> dict[str, Any]:
    """Return the native table of a kind: ours with what is given put on top, or a new one."""
    ours = builtin_kinds().get(name)
    start = ours or AgentKind(name, argv=(str(entry.command),))
    program, *arguments = start.argv
    # The original names programs as its images have them; ours lie elsewhere.
    renamed = entry.command is not None and entry.command != PurePosixPath(program).name
    argv = [entry.command if renamed else program, *(arguments if entry.args is None else entry.args)]
    fields = {name: value for name, value in asdict(start).items() if name != "name"}
    return fields | {"argv": argv, "env": {**start.env, **entry.env}}


def _floor(value: Any) -> Any:
    return 1 if value == 0 and not isinstance(value, bool) else value
