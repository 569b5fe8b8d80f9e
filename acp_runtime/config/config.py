"""What was configured, whole and checked; and where each value came from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from acp_runtime.core.admission import Admission, Share
from acp_runtime.core.budget import Budget, Scope
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.model import Limits
from acp_runtime.core.prices import Price
from acp_runtime.core.request import Questions
from acp_runtime.core.turns import OutboxRules
from acp_runtime.egress.registry import Registry, builtin_registries
from acp_runtime.presets import Preset, builtin_presets
from acp_runtime.session.catalogue import Catalogue

Sockets = Literal["auto", "exec"]


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """How the daemon is run. `idle_exit` and `lease` in seconds, None for never; `log_size` in MiB.

    `retention_days` after its end the log of a subagent is deleted, once nothing of it is to be told. `reap`: seconds
    between two passes of the reaper, by whoever owns a store; None for the passes that are asked for only. `http`: the
    port of 127.0.0.1 at which MCP is served, None for no port.
    """

    idle_exit: float | None = 3600.0
    lease: float = 30.0
    log_size: int = 2
    log_files: int = 3
    retention_days: float | None = 30.0
    reap: float | None = 600.0
    http: int | None = None


@dataclass(frozen=True, slots=True)
class OneShot:
    """Subagents that end with their first task and write a file. `duration` and `idle` in seconds.

    `idle`: silent for so long, it is shown as idle. `output_dir` is a folder of the workspace.
    """

    enabled: bool = True
    admission: Admission = field(default_factory=lambda: Admission(per_parent=2, total=4, one_shot=True))
    duration: float = 1800.0
    idle: float = 900.0
    output_dir: str = ".subagents"


@dataclass(frozen=True, slots=True)
class UsualModel:
    """The model of an agent kind: the provider's `name` for it, the `url` of its API, and the source of its `key`."""

    name: str | None
    url: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """All that can be configured. `values` has each key as it is in force, by its dotted name.

    `origins` has, for each key that was given, where: `FILE:LINE`, `environment NAME`.

    `sockets`: `auto` finds out by trying whether the engine's containers share sockets with this process, `exec` takes
    it that they do not.

    `orphan_ttl` is for how many seconds an agent lives on without a manager.

    `models` has, by agent kind, the model of those that are spawned without an address of one.

    `ceiling` names the preset that a parent's wishes may not go beyond. `questions` says whether agents may ask their
    parents. `on_nudge` is a command for a person who has no parent. `prices` are those of models that the user added,
    `budget` what a subagent may use where neither its order nor its preset says so; `tree_budget` bounds
    one with all below it together, `parent_budget` all below one parent. `file` is where it was read from, if from one.
    `again` reads it anew where it came from, and raises `ConfigError`; None for one that was made by hand.
    """

    limits: Limits
    catalogue: Catalogue
    base_image: str | None
    state_dir: Path
    runtime_dir: Path
    cache_dir: Path
    sockets: Sockets = "auto"
    orphan_ttl: float = 3600.0
    enabled: bool = True
    default_agent: str = "opencode"
    default_preset: str = "friendly"
    ceiling: str = "privileged"
    questions: Questions = Questions.ASK
    on_nudge: tuple[str, ...] | None = None
    models: Mapping[str, UsualModel] = field(default_factory=dict)
    admission: Admission = field(default_factory=Admission)
    presets: Mapping[str, Preset] = field(default_factory=builtin_presets)
    registries: Mapping[str, Registry] = field(default_factory=builtin_registries)
    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    nudges: OutboxRules = field(default_factory=OutboxRules)
    one_shot: OneShot = field(default_factory=OneShot)
    orchestration: Orchestration = field(default_factory=Orchestration)
    prices: tuple[Price, ...] = ()
    budget: Budget = field(default_factory=Budget)
    tree_budget: Share = field(default_factory=lambda: Share(Scope.TREE, Budget()))
    parent_budget: Share = field(default_factory=lambda: Share(Scope.PARENT, Budget()))
    file: Path | None = field(default=None, compare=False)
    origins: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    again: "Callable[[], Config] | None" = field(default=None, compare=False, repr=False)
