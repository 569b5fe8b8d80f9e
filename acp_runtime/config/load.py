"""From a file and the environment to a `Config`: read, check, put on top of each other.

A variable is stronger than the file, the file than the default; the original's one variable is weaker than the file.
"""

import logging
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from acp_runtime import __version__
from acp_runtime.config.config import Config, DaemonConfig, OneShot, UsualModel
from acp_runtime.config.mistakes import ConfigError, line_of, mistakes
from acp_runtime.config.nested import merged, paths
from acp_runtime.config.orchestration import read_orchestration
from acp_runtime.config.original import ROOT, translate, weakest
from acp_runtime.config.tables import (
    AgentTable,
    FileTable,
    ModelTable,
    ParentBudgetTable,
    PresetTable,
    PriceTable,
    RegistryTable,
    TreeBudgetTable,
)
from acp_runtime.config.variables import read_variables
from acp_runtime.core.admission import Admission, Extent, Share
from acp_runtime.core.budget import Budget, Scope, nanos
from acp_runtime.core.confinement import Egress, Mount
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Limits
from acp_runtime.core.prices import Price
from acp_runtime.core.turns import OutboxRules
from acp_runtime.egress.registry import Registry, builtin_registries
from acp_runtime.keys import key_source
from acp_runtime.models.route import Route
from acp_runtime.places import cache_dir, config_dir, runtime_dir, state_dir
from acp_runtime.presets import Network, Preset, builtin_presets, narrow
from acp_runtime.private import check_guarded
from acp_runtime.session.catalogue import AgentKind, Catalogue, builtin_kinds, read_kind

log = logging.getLogger(__name__)

FILE: Final = "config.toml"
_NOT_CONFINING: Final = ("extends", "about", "network", "permissions", "mounts", "egress", "registries")
_BUDGET: Final = ("budget_tokens", "budget_cost", "budget_soft_tokens", "budget_soft_cost")


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the configuration: `path`, else `SUBAGENTS_CONFIG`, else the user's file when there is one.

    Raises `ConfigError` for a missing named file and for every mistake in the file or in a variable. What is
    told by a warning only is logged.
    """
    file = _file(path, environ)
    given, origins = _read(file) if file is not None else ({}, {})
    under, weak = weakest(environ)
    over, variables = read_variables(environ)
    table = FileTable.model_validate(merged(merged(under, given), over))
    config = _config(table, environ, weak | origins | variables)
    # Whoever reads it again may be in another folder by then.
    again = partial(load, path and path.absolute(), dict(environ))
    return replace(config, file=file and file.absolute(), again=again)


def _file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or (Path(environ["SUBAGENTS_CONFIG"]) if environ.get("SUBAGENTS_CONFIG") else None)
    usual = config_dir(environ) / FILE
    return named if named is not None else usual if _is_there(usual) else None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be looked for: {error.strerror}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a file sets, checked, and the line of each of its keys."""
    try:
        with path.open(encoding="utf-8") as file:
            check_guarded(file.fileno())
            text = file.read()
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {path} is not UTF-8 text (byte {error.start})") from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error

    def place(location: Sequence[str]) -> str:
        return f"{path}:{line_of(text, location)}"

    try:
        table = FileTable.model_validate(raw)
        given = table.model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ConfigError("\n".join(mistakes(error, place, FileTable))) from error
    given.pop(ROOT, None)
    origins = {".".join(each): place(each) for each in paths(given)}
    return given, origins | translate(table.delegation, given, place)


def _config(table: FileTable, environ: Mapping[str, str], origins: dict[str, str]) -> Config:
    orchestration, held, warnings = read_orchestration(table.orchestration, origins)
    table = table.model_copy(update={"orchestration": held})
    for warning in warnings:
        log.warning("%s", warning)
    kinds = builtin_kinds() | {name: _kind(name, entry) for name, entry in table.agents.items()}
    one_shot = table.one_shot.model_dump()
    admission = Admission(one_shot.pop("per_parent"), one_shot.pop("total"), one_shot=True)
    config = Config(
        limits=Limits(**table.limits.model_dump()),
        catalogue=Catalogue(kinds, __version__),
        base_image=table.sandbox.image,
        sockets=table.sandbox.sockets,
        orphan_ttl=table.sandbox.orphan_ttl,
        state_dir=state_dir(environ),
        runtime_dir=runtime_dir(environ),
        cache_dir=cache_dir(environ),
        enabled=table.enabled,
        default_agent=table.default_agent,
        default_preset=table.default_preset,
        ceiling=table.ceiling,
        questions=table.questions,
        on_nudge=tuple(shlex.split(table.on_nudge)) if table.on_nudge is not None else None,
        admission=Admission(**table.admission.model_dump()),
        models=_models(table.models, kinds, origins),
        presets=_presets(table, origins),
        registries=_registries(table.registries, origins),
        daemon=DaemonConfig(**table.daemon.model_dump()),
        nudges=OutboxRules(**table.nudges.model_dump()),
        one_shot=OneShot(admission=admission, **one_shot),
        orchestration=orchestration,
        budget=_budget(**table.budget.model_dump()),
        tree_budget=_share(Scope.TREE, table.tree_budget),
        parent_budget=_share(Scope.PARENT, table.parent_budget),
        prices=tuple(_price(model, entry) for model, entry in table.prices.items()),
        origins=origins,
        values=_values(table),
    )
    _check_names(config)
    return config


def _values(table: FileTable) -> dict[str, object]:
    """Return every key that is in force, by its dotted name."""
    dumped = table.model_dump(exclude={ROOT})
    found: dict[str, object] = {}
    for path in paths(dumped):
        value: Any = dumped
        for part in path:
            value = value[part]
        found[".".join(path)] = value
    return found


def _check_names(config: Config) -> None:
    """Refuse names that name nothing, and a default that no parent would get. Raises `ConfigError`."""
    for key, known in (
        ("default_agent", config.catalogue.kinds),
        ("default_preset", config.presets),
        ("ceiling", config.presets),
    ):
        name = getattr(config, key)
        if name not in known:
            where = config.origins.get(key, "default")
            raise ConfigError(f"{where}: {key}: there is no {name!r}; known: {', '.join(sorted(known))}")
    try:
        narrow(config.presets[config.default_preset], config.presets[config.ceiling])
    except Rejected as error:
        key = "default_preset" if "default_preset" in config.origins else "ceiling"
        raise ConfigError(f"{config.origins.get(key, 'default')}: {key}: {error}") from error


def _kind(name: str, entry: AgentTable) -> AgentKind:
    return read_kind(name, entry.model_dump())


def _models(
    tables: Mapping[str, ModelTable], kinds: Mapping[str, AgentKind], origins: Mapping[str, str]
) -> dict[str, UsualModel]:
    """Return the model of each kind that has one. Raises `ConfigError`, which repeats neither address nor key."""
    for kind, table in tables.items():
        place = f"{_place_of(f'models.{kind}', origins)}: models.{kind}"
        if kind not in kinds:
            raise ConfigError(f"{place}: there is no agent kind of that name; known: {', '.join(sorted(kinds))}")
        if table.name is not None and not kinds[kind].takes_model:
            raise ConfigError(f"{place}.name: this agent kind takes no model's name; leave it out")
        try:
            Route.parse(table.url)
        except Rejected as error:
            raise ConfigError(f"{place}.url: {error}") from error
        try:
            key_source(table.key, {}) if table.key is not None else None
        except Rejected as error:
            raise ConfigError(f"{place}.key: {error}") from error
    return {kind: UsualModel(table.name, table.url, table.key) for kind, table in tables.items()}


def _share(scope: Scope, table: TreeBudgetTable | ParentBudgetTable) -> Share:
    """Return what bounds a scope. Raises `ConfigError` for what makes no sense."""
    given = table.model_dump()
    extent = Extent(given.pop("agents"), given.pop("wall", None))
    return Share(scope, _budget(**given), extent)


def _budget(tokens: int | None, cost: float | None, soft_tokens: int | None, soft_cost: float | None) -> Budget:
    """Return a budget. Raises `ConfigError` for one that makes no sense."""
    in_nanos = (None if each is None else nanos(each) for each in (cost, soft_cost))
    budget = Budget(tokens, next(in_nanos), soft_tokens, next(in_nanos))
    for mistake in budget.mistakes():
        raise ConfigError(mistake)
    return budget


def _price(model: str, entry: PriceTable) -> Price:
    """Return a price as it was written: decimal, not what is nearest to it in binary."""

    def exact(value: float | None) -> Decimal | None:
        return None if value is None else Decimal(str(value))

    return Price.of(
        model,
        input=Decimal(str(entry.input)),
        output=Decimal(str(entry.output)),
        cached_input=exact(entry.cached_input),
        cache_write=exact(entry.cache_write),
        cache_write_hour=exact(entry.cache_write_hour),
    )


def _presets(file: FileTable, origins: Mapping[str, str]) -> dict[str, Preset]:
    """Return the presets of the program and those of the file, which may extend each other in any order."""
    made = builtin_presets(runtime=file.sandbox.runtime or "")
    left = dict(file.presets)
    while left:
        ready = [name for name, table in left.items() if table.extends in made and table.extends != name]
        for name in ready or sorted(left)[:1]:
            table = left.pop(name)
            if not ready:
                place = origins.get(f"presets.{name}.extends", next(iter(origins.values()), "default"))
                why = "itself, by way of others" if table.extends in (*left, name) else "no preset"
                known = ", ".join(sorted(made))
                raise ConfigError(f"{place}: presets.{name}.extends: {table.extends!r} is {why}; known: {known}")
            made[name] = _preset(name, table, made[table.extends], origins)
    return made


def _registries(tables: Mapping[str, RegistryTable], origins: Mapping[str, str]) -> dict[str, Registry]:
    """Return the registries of the program, where the file says they are."""
    found = dict(builtin_registries())
    for name, table in tables.items():
        place = _place_of(f"registries.{name}", origins)
        if name not in found:
            raise ConfigError(f"{place}: registries.{name}: there is none of that name; known: {', '.join(found)}")
        try:
            found[name] = found[name].moved(table.addresses, private=table.unsafe_private)
        except Rejected as error:
            raise ConfigError(f"{place}: registries.{name}.addresses: {error}") from error
    return found


def _place_of(prefix: str, origins: Mapping[str, str]) -> str:
    """Return where the first key below a table was given."""
    return next((place for key, place in origins.items() if key.startswith(f"{prefix}.")), "default")


def _egress(name: str, table: PresetTable, base: Preset, origins: Mapping[str, str]) -> tuple[Network, Egress]:
    """Return what a preset reaches. Raises `ConfigError` for what could never be reached."""
    network = table.network or base.network
    rules = base.egress.rules if table.egress is None else tuple(table.egress)
    registries = base.egress.registries if table.registries is None else tuple(dict.fromkeys(table.registries))
    place = _place_of(f"presets.{name}", origins)
    if unknown := [each for each in registries if each not in builtin_registries()]:
        known = ", ".join(builtin_registries())
        raise ConfigError(f"{place}: presets.{name}.registries: there is no {unknown[0]!r}; known: {known}")
    if (table.egress or table.registries) and network is not Network.EGRESS:
        why = f"its network is {network.value!r}, so none of it can ever be reached; set network to 'egress'"
        raise ConfigError(f"{place}: presets.{name}: {'egress' if table.egress else 'registries'}: {why}")
    return network, Egress(rules, registries) if network is Network.EGRESS else Egress()


def _preset(name: str, table: PresetTable, base: Preset, origins: Mapping[str, str]) -> Preset:
    network, egress = _egress(name, table, base, origins)
    budget = _budget(table.budget_tokens, table.budget_cost, table.budget_soft_tokens, table.budget_soft_cost)
    given = table.model_dump(exclude_none=True, exclude={*_NOT_CONFINING, *_BUDGET})
    mounts = {Mount(each.source, each.target, each.unsafe_writable) for each in table.mounts or ()}
    if table.mounts is not None:
        given["mounts"] = tuple(sorted(mounts, key=lambda mount: (mount.target, mount.source)))
    return Preset(
        name=name,
        about=table.about or f"{base.name} with settings of yours",
        confinement=replace(base.confinement, **given),
        network=network,
        permissions=table.permissions or base.permissions,
        egress=egress,
        budget=budget.filled(base.budget),
    )
