"""The tables of the configuration file as models: each key with its type, default, unit and one sentence.

They are the one description of what can be configured: the checks, the variables, `docs/configuration.md` and the
example that `subagents config init` writes are made from them.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, JsonValue

from acp_runtime.config.config import DaemonConfig, OneShot, Sockets
from acp_runtime.config.orchestration import OrchestrationTable
from acp_runtime.config.original import DelegationTable
from acp_runtime.config.table import (
    YEAR,
    Count,
    Dollars,
    ModelName,
    Name,
    OrNever,
    Path,
    Runtime,
    Seconds,
    Table,
    Tokens,
    Variable,
    Word,
    below,
    command,
    egress_rules,
    header_names,
    key,
    program,
)
from acp_runtime.core.admission import Admission
from acp_runtime.core.model import Limits, Permissions
from acp_runtime.core.request import Questions
from acp_runtime.core.turns import OutboxRules
from acp_runtime.presets import MEMORY, PIDS, Network
from acp_runtime.session.catalogue import KeyForm

_LIMITS: Final = Limits()
_DAEMON: Final = DaemonConfig()
_NUDGES: Final = OutboxRules()
_ONE_SHOT: Final = OneShot()
_ADMISSION: Final = Admission()


class AdmissionTable(Table):
    """`[admission]`: how many subagents may be open at one time."""

    per_parent: Count = key(_ADMISSION.per_parent, "of one parent", "subagents")
    total: Count = key(_ADMISSION.total, "of all parents together", "subagents")


class LimitsTable(Table):
    """`[limits]`: deadlines of a subagent, and how often something is tried."""

    sandbox: Seconds = key(_LIMITS.sandbox, "until the sandbox stands, images included", "s")
    initialize: Seconds = key(_LIMITS.initialize, "until the agent has answered initialize", "s")
    initialize_cold: Seconds = key(_LIMITS.initialize_cold, "the same for agent kinds with `cold_start`", "s")
    authenticate: Seconds = key(_LIMITS.authenticate, "until the agent has answered the login", "s")
    session: Seconds = key(_LIMITS.session, "until the agent has opened a session", "s")
    task: Annotated[Seconds | None, OrNever] = key(
        _LIMITS.task, "for a task, without the time that it waits for an answer", "s", never=True
    )
    request: Seconds = key(_LIMITS.request, "until an open question is closed with a no", "s")
    cancel_grace: Seconds = key(_LIMITS.cancel_grace, "between the cancel of a task and the end of its agent", "s")
    stop: Seconds = key(_LIMITS.stop, "until a stop whose end nobody confirms counts as one", "s")
    lost_grace: Seconds = key(_LIMITS.lost_grace, "to learn what became of an agent that went away", "s")
    loss_told: Seconds = key(_LIMITS.loss_told, "out of reach, until the parent is told", "s")
    backoff: Seconds = key(_LIMITS.backoff, "before a dead agent is started again; doubles each time", "s")
    retry_delay: Seconds = key(_LIMITS.retry_delay, "before a task is delivered again; doubles each time", "s")
    steer: Seconds = key(_LIMITS.steer, "until the agent has said whether it took a message to its running task", "s")
    idle: Annotated[Seconds | None, OrNever] = key(
        _LIMITS.idle, "without a task, until the subagent is stopped", "s", never=True
    )
    lifetime: Annotated[Seconds | None, OrNever] = key(
        _LIMITS.lifetime, "from the spawn until the subagent is stopped", "s", never=True
    )
    queue: Annotated[int, Field(ge=0, le=1000)] = key(_LIMITS.queue, "that may wait behind the one under way", "tasks")
    restarts: Annotated[int, Field(ge=0, le=100)] = key(
        _LIMITS.restarts, "new starts after a death of the agent, anew after each completed task", "starts"
    )
    retries: Annotated[int, Field(ge=0, le=100)] = key(
        _LIMITS.retries, "new deliveries of a task whose model failed before anything was produced", "deliveries"
    )


class SandboxTable(Table):
    """`[sandbox]`: what agents run in."""

    image: Annotated[str, Field(min_length=1, max_length=255)] | None = key(
        None, "image with git, sh and python3 instead of the base image that is built on first use"
    )
    runtime: Runtime | None = key(
        None, "what runs the containers of agents, as `runsc`, by its name on the engine; else the engine's own default"
    )
    sockets: Sockets = key(
        "auto", "`auto`: try whether sockets reach into containers; `exec`: go over the engine, as if they did not"
    )
    orphan_ttl: Annotated[float, Field(ge=10, le=604_800)] = key(
        3600.0, "for which an agent goes on without its manager, until it is ended", "s"
    )


class DaemonTable(Table):
    """`[daemon]`: how `subagents serve` runs."""

    idle_exit: Annotated[Seconds | None, OrNever] = key(
        _DAEMON.idle_exit, "with nothing open and nobody connected, until the daemon ends", "s", never=True
    )
    lease: Annotated[float, Field(ge=5, le=3600)] = key(
        _DAEMON.lease, "for which the daemon promises to be there; one that stalls longer may be replaced", "s"
    )
    log_size: Annotated[int, Field(ge=1, le=1024)] = key(_DAEMON.log_size, "of one log file, until the next", "MiB")
    log_files: Annotated[int, Field(ge=1, le=100)] = key(
        _DAEMON.log_files, "full ones that are kept beside the one that is written", "files"
    )
    retention_days: Annotated[Annotated[float, Field(gt=0, le=36_500)] | None, OrNever] = key(
        _DAEMON.retention_days,
        "that the machine was awake after the end of a subagent, until its log is deleted if nothing is to be told",
        "days",
        never=True,
    )
    reap: Annotated[Seconds | None, OrNever] = key(
        _DAEMON.reap, "between two looks for what dead managers left on the engine", "s", never=True
    )
    http: Annotated[Annotated[int, Field(ge=0, le=65_535)] | None, OrNever] = key(
        _DAEMON.http,
        "of 127.0.0.1, at which MCP is served to who has the token; 0 for one that is free",
        "port",
        never=True,
    )


class NudgesTable(Table):
    """`[nudges]`: how what happened is told to parents."""

    claim: Seconds = key(_NUDGES.claim, "for which a door holds the nudges that it shows", "s")
    aged: Seconds = key(_NUDGES.aged, "after which a nudge is shown with its age", "s")
    offers: Count = key(_NUDGES.offers, "without an acknowledgement, until a nudge is a dead letter", "offers")
    absent: Annotated[float, Field(gt=0, le=YEAR)] = key(
        _NUDGES.absent,
        "that the machine was awake without a turn of the parent, until its nudges are dead letters",
        "s",
    )
    wakes: Count = key(_NUDGES.wakes, "in a row that a wake-up began, until a parent is left in peace", "turns")


class OneShotTable(Table):
    """`[one_shot]`: subagents that end with their first task and write a file into the workspace."""

    enabled: bool = key(_ONE_SHOT.enabled, "whether there are any")
    per_parent: Count = key(_ONE_SHOT.admission.per_parent, "of one parent", "subagents")
    total: Count = key(_ONE_SHOT.admission.total, "of all parents together", "subagents")
    duration: Seconds = key(_ONE_SHOT.duration, "for the task", "s")
    idle: Seconds = key(_ONE_SHOT.idle, "of silence, until it is shown as idle", "s")
    output_dir: Annotated[Word, AfterValidator(below)] = key(
        _ONE_SHOT.output_dir, "folder of the workspace for the files"
    )


class AgentTable(Table):
    """`[agents.NAME]`: an agent kind; see `acp_runtime/session/catalogue.toml` for those that come with the program."""

    argv: Annotated[list[Word], Field(min_length=1), AfterValidator(program)] = key(
        ..., "the agent's program and arguments, as in the sandbox"
    )
    env: dict[Variable, Word] = key(
        {},
        "its variables; `$MODEL` and `$BASE_URL` stand for the model's name and address, "
        "`$API_ROOT` for the address without a `/v1` or `/v1beta` at its end",
    )
    login_env: dict[Variable, Word] = key(
        {}, "variables more, in place of those of the same name, where its key is the login of a subscription"
    )
    auth_method: str | None = key(None, "the login to call after initialize")
    needs_model: bool = key(default=False, sentence="refuse it where no model is named")
    cold_start: bool = key(default=False, sentence="its first start is slow: `limits.initialize_cold` holds")
    key_form: KeyForm = key(
        "bearer", "how its API wants the key: `Authorization: Bearer KEY`, or alone in the header of that name"
    )
    model_headers: Annotated[list[Word], AfterValidator(header_names)] = key(
        [], "headers of its own that its model gets beside the usual ones; others are dropped on their way"
    )
    failure_records: bool = key(
        default=False, sentence="ask it to tell of turns that failed, which it calls ended otherwise"
    )
    session_meta: dict[str, JsonValue] = key(
        {}, "given to it as `_meta` of its sessions: settings that it takes no other way"
    )
    home_files: dict[Annotated[Word, AfterValidator(below)], Word] = key(
        {}, "files below its home with their text, made where they are not there and it reaches more than its model"
    )


_KEY_SOURCE: Final = key(None, "where its key is, as `--model-key` says it ([keys.md](keys.md))")


class ModelTable(Table):
    """`[models.KIND]`: the model of an agent kind, for spawns that name no address of one."""

    name: ModelName | None = key(None, "what its provider calls it; a spawn may name another one there")
    url: Word = key(..., "address of its API, as `--model-url` says it")
    key: Word | None = _KEY_SOURCE


class MountTable(Table):
    """One folder of the host in a preset's sandboxes."""

    source: Path = key(..., "the folder of the host")
    target: Path = key(..., "where the agent sees it")
    unsafe_writable: bool = key(default=False, sentence="UNSAFE: the agent may change it")


class PresetTable(Table):
    """`[presets.NAME]`: a preset of yours; what it does not say is as in the one that it extends."""

    extends: Name = key("friendly", "the preset whose settings it starts from")
    about: Annotated[str, Field(max_length=200)] = key("", "one line for people")
    memory: Annotated[int, Field(ge=MEMORY[0], le=MEMORY[1])] | None = key(
        None, "memory of the sandbox, without swap", "MiB"
    )
    cpus: Annotated[float, Field(ge=0.01, le=1024)] | None = key(None, "processors", "processors")
    pids: Annotated[int, Field(ge=PIDS[0], le=PIDS[1])] | None = key(None, "processes at one time", "processes")
    tmp: Annotated[int, Field(ge=1, le=1_048_576)] | None = key(None, "of /tmp, which lies in memory", "MiB")
    network: Annotated[Network, Field(strict=False)] | None = key(
        None, "what the sandbox reaches; `egress`: its model, and what `egress` and `registries` name"
    )
    egress: Annotated[list[Word], AfterValidator(egress_rules)] | None = key(
        None, "hosts that it may reach, as `HOST`, `HOST:PORT`, `*.DOMAIN:PORT`; see [egress.md](egress.md)"
    )
    registries: list[Name] | None = key(None, "package registries that it is given: apt, cargo, go, npm, pip")
    permissions: Annotated[Permissions, Field(strict=False)] | None = key(
        None, "what the agent's permission requests are answered with"
    )
    mounts: list[MountTable] | None = key(None, "folders of the host that the agent sees")
    budget_tokens: Tokens | None = key(None, "as `budget.tokens`", "tokens")
    budget_cost: Dollars | None = key(None, "as `budget.cost`", "USD")
    budget_soft_tokens: Tokens | None = key(None, "as `budget.soft_tokens`", "tokens")
    budget_soft_cost: Dollars | None = key(None, "as `budget.soft_cost`", "USD")
    runtime: Runtime | None = key(None, "what runs the container, by its name on the engine")
    unsafe_seccomp: bool | None = key(None, "UNSAFE: the agent's system calls are not filtered")


class PriceTable(Table):
    """`[prices."MODEL"]`: what a model costs; the program's own price of it does not count then."""

    input: Dollars = key(..., "for what is sent", "USD per million tokens")
    output: Dollars = key(..., "for what is answered", "USD per million tokens")
    cached_input: Dollars | None = key(
        None, "for what comes from a cache; as `input` if not set", "USD per million tokens"
    )
    cache_write: Dollars | None = key(
        None, "for what is put into a cache; as `input` if not set", "USD per million tokens"
    )
    cache_write_hour: Dollars | None = key(
        None, "for what is put into a cache for an hour; as `cache_write` if not set", "USD per million tokens"
    )


class RegistryTable(Table):
    """`[registries.NAME]`: where a package registry is, for all presets that give it."""

    addresses: dict[Name, Word] = key({}, "other addresses of its parts; see [egress.md](egress.md)")
    unsafe_private: bool = key(
        default=False, sentence="UNSAFE: they may be without TLS, on a private network, or on this machine"
    )


class BudgetTable(Table):
    """`[budget]`: what a subagent may use of its models, from its spawn to its end."""

    tokens: Annotated[Tokens | None, OrNever] = key(
        None, "of all kinds together; then the next call is refused", "tokens", never=True
    )
    cost: Annotated[Dollars | None, OrNever] = key(None, "then the next call is refused", "USD", never=True)
    soft_tokens: Annotated[Tokens | None, OrNever] = key(None, "then the parent is told", "tokens", never=True)
    soft_cost: Annotated[Dollars | None, OrNever] = key(None, "then the parent is told", "USD", never=True)


class TreeBudgetTable(BudgetTable):
    """`[tree_budget]`: what a subagent of an outer parent and all below it may come to together."""

    agents: Annotated[Count | None, OrNever] = key(
        None, "it ever had, its top one and deleted ones too; then a spawn is refused", "subagents", never=True
    )
    wall: Annotated[Seconds | None, OrNever] = key(
        None,
        "awake since its top one was requested; then a spawn and a further task are refused",
        "s",
        never=True,
    )


class ParentBudgetTable(BudgetTable):
    """`[parent_budget]`: what all subagents of an outer parent, and all below them, may come to together."""

    agents: Annotated[Count | None, OrNever] = key(
        None, "it ever had, deleted ones too; then a spawn is refused", "subagents", never=True
    )


class FileTable(Table):
    """The keys that stand outside of any table, and the tables."""

    enabled: bool = key(default=True, sentence="whether subagents can be spawned at all")
    default_agent: Name = key("opencode", "agent kind where none is named")
    default_preset: Name = key("friendly", "preset where none is named")
    ceiling: Name = key("privileged", "preset beyond which parents get nothing; the operator does")
    questions: Annotated[Questions, Field(strict=False)] = key(
        Questions.ASK, "`ask`: agents may ask their parents; `refuse`: they are told to go on alone"
    )
    on_nudge: Annotated[Word, AfterValidator(command)] | None = key(
        None, "command for a person who has no parent: gets each nudge as a line of JSON; no shell runs it"
    )
    admission: AdmissionTable = AdmissionTable()
    limits: LimitsTable = LimitsTable()
    sandbox: SandboxTable = SandboxTable()
    daemon: DaemonTable = DaemonTable()
    nudges: NudgesTable = NudgesTable()
    one_shot: OneShotTable = OneShotTable()
    orchestration: OrchestrationTable = OrchestrationTable()
    budget: BudgetTable = BudgetTable()
    tree_budget: TreeBudgetTable = TreeBudgetTable()
    parent_budget: ParentBudgetTable = ParentBudgetTable()
    agents: dict[Name, AgentTable] = Field(default_factory=dict)
    models: dict[Name, ModelTable] = Field(default_factory=dict)
    presets: dict[Name, PresetTable] = Field(default_factory=dict)
    prices: dict[ModelName, PriceTable] = Field(default_factory=dict)
    registries: dict[Name, RegistryTable] = Field(default_factory=dict)
    delegation: DelegationTable = DelegationTable()
