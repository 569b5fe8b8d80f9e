"""What a caller may ask for when it spawns, checked whole before anything is stored or started.

Every refusal is `Rejected` (kind `invalid`, `unknown_agent` or `bad_key_source`) with one sentence that names the
value, but for what may be a key.
"""

import json
import stat
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import JsonValue

from acp_runtime.callers import Caller, Operator, parent_of
from acp_runtime.config import Config
from acp_runtime.core.budget import Budget
from acp_runtime.core.confinement import Egress
from acp_runtime.core.envelope import briefing
from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import display_name
from acp_runtime.core.inputs import Spawn
from acp_runtime.core.model import Limits, Order, Permissions, Subagent
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.core.request import Questions
from acp_runtime.egress.rules import Rules
from acp_runtime.keys import key_source
from acp_runtime.places import environment
from acp_runtime.presets import (
    NO_EGRESS,
    Network,
    Preset,
    find_preset,
    narrow,
    with_budget,
    with_confinement,
    with_egress,
    with_permissions,
)
from acp_runtime.service.bounds import duration
from acp_runtime.service.descent import as_led, lineage, own_preset
from acp_runtime.service.results import shape_of
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.store.codec import storable

MAX_TASK_CHARS: Final = 1_000_000
MAX_NAME_CHARS: Final = 200
MAX_CWD_CHARS: Final = 1_024


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What to spawn. `workspace` is a folder of this machine, `cwd` the agent's folder below it ("" for the whole).

    What is empty or None is as configured: `agent`, `preset`, `limits`, `questions`, each bound of the `budget`;
    `permissions`, `memory` in MiB, `pids` and `runtime` are the preset's.
    `purpose` is for people, the task's start by default. `keep`: home and work outlast the end, so that `resume` can go
    on with them. `one_shot`: the subagent ends with its first task, or after `max_duration` seconds; how it stands is
    kept in `output_file`, relative to the workspace, where `{id}` becomes the subagent's id (None: in the configured
    folder). `instructions` are put before the first task. `model_key` says where the key is, such as `env:NAME`.
    `egress` and `registries` are allowed beside the preset's. `role`: `leaf` or `orchestrator`, which may have
    subagents of its own; one that cannot be had is told in `SubagentView.role_note`, and it is a leaf.
    """

    agent: str
    workspace: Path
    task: str
    purpose: str = ""
    cwd: str = ""
    preset: str = ""
    instructions: str = ""
    keep: bool = False
    one_shot: bool = False
    role: str = ""
    output_file: str | None = None
    image: str | None = None
    model: str | None = None
    model_url: str | None = None
    model_key: str | None = None
    permissions: Permissions | None = None
    questions: Questions | None = None
    result_schema: dict[str, JsonValue] | None = None
    memory: int | None = None
    pids: int | None = None
    runtime: str | None = None
    egress: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    limits: Limits | None = None
    budget: Budget | None = None
    max_duration: float | None = None


def spawn_input(
    config: Config, *, ident: str, caller: Caller, request: SpawnRequest, leader: Subagent | None = None
) -> Spawn:
    """Return the command that admits what was asked for; `leader` is the caller where that is a subagent that lives.

    Raises `Rejected`.
    """
    if not config.enabled:
        raise Rejected("disabled", "Background ACP subagents are disabled in config.")
    if request.one_shot and not config.one_shot.enabled:
        raise Rejected("disabled", "One-shot subagents are disabled in config (one_shot.enabled).")
    place = lineage(config, caller, leader, request.role)
    request = with_usual_model(config, request) if leader is None else as_led(request, leader)
    kind = config.catalogue.kind(request.agent or config.default_agent)
    task = text_of("task", request.task)
    if request.model_key is not None:
        key_source(request.model_key, {})  # what is none is not stored either: it may be the key itself
    workspace = _folder(request.workspace)
    preset = _preset(config, caller, request, leader)
    _check_model(kind, preset, request)
    order = Order(
        agent=kind.name,
        workspace=str(workspace),
        cwd=_cwd(workspace, request.cwd),
        preset=preset.name,
        confinement=preset.confinement,
        budget=preset.budget,
        keep=request.keep,
        one_shot=request.one_shot,
        output_file=None if leader is not None else _output_file(config, ident, request),
        instructions="\n\n".join(filter(None, (briefing(place), *_instructions(request)))),
        image=request.image,
        model=request.model,
        model_url=request.model_url,
        model_key=request.model_key,
        egress=_canonical(preset.egress) if preset.network is Network.EGRESS else None,
        beside=_beside(request, leader),
        lineage=place,
        questions=request.questions or config.questions,
        result_schema=shape_of(request.result_schema),
    )
    return Spawn(
        id=ident,
        parent=parent_of(caller),
        name=display_name(ident),
        purpose=_purpose(request.purpose, task),
        order=order,
        permissions=preset.permissions,
        limits=_limits(config, kind, request),
        task=task,
    )


def confined(config: Config, caller: Caller, request: SpawnRequest, leader: Subagent) -> SpawnRequest:
    """Return what `leader` asked for as a request to a runtime that knows it as `caller` only, and holds it to nothing.

    Raises `Rejected` for what goes beyond what the leader has itself, as for one that the runtime knows; and
    (override_refused) for one-shots, which write into the folder, and another agent kind without its own address.
    """
    request, own = as_led(request, leader), leader.order
    if request.one_shot:
        sentence = "one_shot cannot be set by an agent in a sandbox: its result would be a file in the user's folder"
        raise Rejected("override_refused", f"{sentence}; leave it out", {"override": "one_shot"})
    if own.model_url is None and request.agent != own.agent:
        sentence = f"agent_kind can be {own.agent!r} only: {leader.name} has no model's address to give to another"
        raise Rejected("override_refused", sentence, {"override": "agent_kind"})
    request = replace(request, preset=request.preset or own.preset)
    _preset(config, caller, request, leader)
    return request


def with_usual_model(config: Config, request: SpawnRequest) -> SpawnRequest:
    """Return a request with the configured model of its agent kind where it names no address of one.

    A configured key goes to the configured address alone.
    """
    usual = config.models.get(request.agent or config.default_agent)
    if usual is None or request.model_url is not None:
        return request
    model, key = request.model or usual.name, request.model_key or usual.key
    return replace(request, model=model, model_url=usual.url, model_key=key)


def _instructions(request: SpawnRequest) -> tuple[str, ...]:
    """Return what is put before the first task: what was asked for, and in what shape its result is wanted."""
    given = carried("instructions", request.instructions)
    if request.result_schema is None:
        return (given,)
    schema = json.dumps(request.result_schema, ensure_ascii=False)
    return given, f"When you are done, report your result with the tool report_result. Its shape:\n{schema}"


def text_of(name: str, value: str) -> str:
    """Return an instruction as it is stored. Raises `Rejected` when it shows nothing, holds a NUL, or is too long."""
    text = carried(name, value)
    if not says_something(text):
        raise Rejected("invalid", f"{name} is required.")
    return text


def carried(name: str, value: str) -> str:
    """Return a text as it is stored, blank or not. Raises `Rejected` when it holds a NUL, or is too long."""
    text = storable(value)
    if "\0" in text:
        raise Rejected("invalid", f"{name} holds a NUL character at position {text.index(chr(0))}; remove it")
    if len(text) > MAX_TASK_CHARS:
        raise Rejected("invalid", f"{name} is {len(text)} characters long; at most {MAX_TASK_CHARS} are allowed")
    return text


def says_something(text: str) -> bool:
    """Return whether there is anything to see in a text: white space and what is not drawn say nothing."""
    return any(printable(line).strip() for line in text.splitlines())


def _purpose(given: str, task: str) -> str:
    """Return what people are shown. One that was meant and shows nothing is a mistake, not the default."""
    if given and not says_something(given):
        raise Rejected("invalid", "purpose is blank; say it in a few words, or leave it out")
    return one_line(given or task, MAX_NAME_CHARS)


def _preset(config: Config, caller: Caller, request: SpawnRequest, leader: Subagent | None) -> Preset:
    """Return what the preset and the wishes beside it come to.

    A parent gets nothing beyond the ceiling, and a subagent nothing beyond what it has itself.
    """
    own = None if leader is None else own_preset(config, leader)
    preset = own if own is not None and not request.preset else _named(config, request)
    if request.permissions is not None:
        preset = with_permissions(preset, request.permissions)
    preset = with_confinement(preset, memory=request.memory, pids=request.pids, runtime=request.runtime)
    if unknown := [name for name in request.registries if name not in config.registries]:
        known = ", ".join(config.registries)
        raise Rejected("invalid", f"there is no package registry {one_line(unknown[0], 60)!r}; known: {known}")
    preset = with_egress(preset, Egress(request.egress, request.registries))
    preset = with_budget(preset, request.budget or Budget(), config.budget)
    if isinstance(caller, Operator):
        return preset
    if own is not None:
        preset = narrow(preset, own)
    return narrow(preset, with_budget(find_preset(config.presets, config.ceiling), Budget(), config.budget))


def _canonical(egress: Egress) -> Egress:
    return Egress(Rules.parse(egress.rules).texts, tuple(dict.fromkeys(egress.registries)))


def _beside(request: SpawnRequest, leader: Subagent | None) -> Egress:
    """Return what is reached beside the preset: what was asked for, and with a leader's preset what that has so."""
    given = NO_EGRESS
    if leader is not None and not request.preset:
        given = leader.order.beside or NO_EGRESS
    rules, registries = (*given.rules, *request.egress), (*given.registries, *request.registries)
    return _canonical(Egress(tuple(dict.fromkeys(rules)), registries))


def _named(config: Config, request: SpawnRequest) -> Preset:
    return find_preset(config.presets, request.preset or config.default_preset)


def _check_model(kind: AgentKind, preset: Preset, request: SpawnRequest) -> None:
    if kind.needs_model and (not request.model or not request.model_url):
        where = f"[models.{kind.name}] of the configuration"
        sentence = (
            f"{kind.name} needs a model and the address of its API: name them, or have the user set them in {where}"
        )
        raise Rejected("invalid", sentence)
    if request.model and not kind.takes_model:
        sentence = f"model cannot be set for {kind.name}: this agent kind takes no model's name; leave it out"
        raise Rejected("override_refused", sentence, {"override": "model"})
    if request.model_url and preset.network is Network.NONE:
        sentence = f"the preset {preset.name!r} reaches no model, and {kind.name} was to use one; choose another preset"
        raise Rejected("invalid", sentence)


def _limits(config: Config, kind: AgentKind, request: SpawnRequest) -> Limits:
    limits = request.limits or config.limits
    longest = config.one_shot.duration if request.one_shot else None
    if request.max_duration is not None:
        longest = duration("max_duration", request.max_duration)
        if not longest:
            raise Rejected("invalid", "max_duration is 0; name the seconds that the subagent may last, or leave it out")
    if longest is not None:
        limits = replace(limits, lifetime=min(longest, limits.lifetime or longest))
    return replace(limits, initialize=limits.initialize_cold) if kind.cold_start else limits


def _output_file(config: Config, ident: str, request: SpawnRequest) -> str | None:
    if not request.one_shot:
        if request.output_file is not None:
            raise Rejected("invalid", "an output file is written for one-shot subagents only; leave it out")
        return None
    name = f"{config.one_shot.output_dir}/{{id}}.md" if request.output_file is None else request.output_file
    path = PurePosixPath(name.replace("{id}", ident))
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name or storable(name) != name:
        raise Rejected("invalid", f"the output file {one_line(name, 200)!r} is no file below the workspace; name one")
    return str(path)


def _folder(path: Path) -> Path:
    shown = one_line(str(path), 200)
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise Rejected("invalid", f"the workspace {shown} does not exist") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Rejected("invalid", f"the workspace {shown} cannot be used: {why}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise Rejected("invalid", f"the workspace {shown} is not a folder; name the folder it is in")
    folder = path.resolve()
    if storable(str(folder)) != str(folder):
        raise Rejected("invalid", f"the name of the workspace {shown} is not UTF-8; rename the folder")
    if folder == Path("/"):
        raise Rejected("invalid", "the workspace / is the whole machine; name the folder of a project")
    # All of it would be copied to where an agent reads it. Somebody's checkout may be a job's home all the same.
    home = environment().get("HOME", "")
    if home and folder == Path(home).resolve() and not (folder / ".git").exists():
        told = f"the workspace {shown} is your home folder, with the keys and logins in it"
        raise Rejected("invalid", f"{told}; name the folder of a project (if all of it is meant: git init)")
    return folder


def _cwd(workspace: Path, cwd: str) -> str:
    """Return the agent's folder below the workspace, `""` for the workspace itself."""
    shown = one_line(cwd, 200)
    parts = PurePosixPath(cwd)
    if len(carried("cwd", cwd)) > MAX_CWD_CHARS or storable(cwd) != cwd:
        raise Rejected("invalid", f"cwd {shown!r} cannot be the name of a folder")
    if parts.is_absolute() or ".." in parts.parts:
        raise Rejected("invalid", f"cwd {shown!r} is outside the workspace {workspace}; name a folder below it")
    folder = workspace / parts
    if not folder.is_dir() or not folder.resolve().is_relative_to(workspace):
        raise Rejected("invalid", f"cwd {shown!r} is no folder of the workspace {workspace}; name one that is")
    return "" if parts == PurePosixPath() else str(parts)
