"""What a caller may ask for when it spawns, checked whole before anything is stored or started.

Every refusal is `Rejected` (kind `invalid` or `unknown_agent`) with one sentence that names the value.
"""

import stat
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import display_name
from acp_runtime.core.inputs import Spawn
from acp_runtime.core.model import Limits, Order, Permissions
from acp_runtime.core.plaintext import one_line
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.store.codec import storable

MAX_TASK_CHARS: Final = 1_000_000
MAX_NAME_CHARS: Final = 200
MAX_CWD_CHARS: Final = 1_024


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What to spawn. `workspace` is a folder of this machine, `cwd` the agent's folder below it ("" for the whole).

    `purpose` is for people, the task's start by default. `keep`: home and work outlast the end, so that `resume` can go
    on with them. `one_shot`: the subagent ends with its first task, or after `max_duration` seconds; how it stands is
    kept in `output_file`, relative to the workspace, where `{id}` becomes the subagent's id. `instructions` are put
    before the first task.
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
    output_file: str | None = None
    image: str | None = None
    model: str | None = None
    model_url: str | None = None
    model_key_env: str | None = None
    permissions: Permissions = Permissions.ALLOW
    limits: Limits | None = None
    max_duration: float | None = None


def spawn_input(config: Config, *, ident: str, parent: str, request: SpawnRequest) -> Spawn:
    """Return the command that admits what was asked for. Raises `Rejected`."""
    kind = config.catalogue.kind(request.agent)
    task = text_of("task", request.task)
    workspace = _folder(request.workspace)
    if kind.needs_model and (not request.model or not request.model_url):
        raise Rejected("invalid", f"{kind.name} needs a model: name one and the address of its API")
    if request.model and not kind.takes_model:
        sentence = f"model cannot be set for {kind.name}: this agent kind takes no model's name; leave it out"
        raise Rejected("override_refused", sentence, {"override": "model"})
    order = Order(
        agent=kind.name,
        workspace=str(workspace),
        cwd=_cwd(workspace, request.cwd),
        preset=request.preset,
        keep=request.keep,
        one_shot=request.one_shot,
        output_file=_output_file(request.output_file, ident),
        instructions=request.instructions,
        image=request.image,
        model=request.model,
        model_url=request.model_url,
        model_key_env=request.model_key_env,
    )
    return Spawn(
        id=ident,
        parent=parent,
        name=display_name(ident),
        purpose=one_line(request.purpose or task, MAX_NAME_CHARS),
        order=order,
        permissions=request.permissions,
        limits=_limits(kind, request.limits or config.limits, request.max_duration),
        task=task,
    )


def text_of(name: str, value: str) -> str:
    """Return an instruction as it is stored. Raises `Rejected` when it is blank, holds a NUL, or is too long."""
    text = storable(value)
    if not text.strip():
        raise Rejected("invalid", f"{name} is required.")
    if "\0" in text:
        raise Rejected("invalid", f"{name} holds a NUL character at position {text.index(chr(0))}; remove it")
    if len(text) > MAX_TASK_CHARS:
        raise Rejected("invalid", f"{name} is {len(text)} characters long; at most {MAX_TASK_CHARS} are allowed")
    return text


def _limits(kind: AgentKind, limits: Limits, max_duration: float | None) -> Limits:
    if max_duration is not None:
        limits = replace(limits, lifetime=min(max_duration, limits.lifetime or max_duration))
    return replace(limits, initialize=limits.initialize_cold) if kind.cold_start else limits


def _output_file(name: str | None, ident: str) -> str | None:
    if name is None:
        return None
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
    return folder


def _cwd(workspace: Path, cwd: str) -> str:
    """Return the agent's folder below the workspace, `""` for the workspace itself."""
    shown = one_line(cwd, 200)
    parts = PurePosixPath(cwd)
    if "\0" in cwd or len(cwd) > MAX_CWD_CHARS or storable(cwd) != cwd:
        raise Rejected("invalid", f"cwd {shown!r} cannot be the name of a folder")
    if parts.is_absolute() or ".." in parts.parts:
        raise Rejected("invalid", f"cwd {shown!r} is outside the workspace {workspace}; name a folder below it")
    folder = workspace / parts
    if not folder.is_dir() or not folder.resolve().is_relative_to(workspace):
        raise Rejected("invalid", f"cwd {shown!r} is no folder of the workspace {workspace}; name one that is")
    return "" if parts == PurePosixPath() else str(parts)
