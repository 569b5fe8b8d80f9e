"""Configuration: one TOML file, checked whole before anything starts.

Every mistake is told with the file, the line, the key and what is allowed. Unknown keys are mistakes.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from acp_runtime import __version__
from acp_runtime.core.admission import Admission
from acp_runtime.core.errors import Culprit, SubagentsError
from acp_runtime.core.model import Limits
from acp_runtime.places import cache_dir, config_dir, runtime_dir, state_dir
from acp_runtime.session.catalogue import AgentKind, Catalogue, builtin_kinds, read_kind

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "a NUL character cannot be passed to a program; remove it")
    return text


def _program(argv: list[str]) -> list[str]:
    if not argv[0]:
        raise PydanticCustomError("no_program", "the first word is empty; name the program")
    return argv


Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
Word = Annotated[str, AfterValidator(_without_nul)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ConfigError(SubagentsError):
    """The configuration cannot be used; nothing was started."""

    kind = "config_error"
    culprit = Culprit.CALLER


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LimitsTable(_Table):
    """`[limits]`: deadlines in seconds, and the length of the queue."""

    sandbox: Seconds | None = None
    initialize: Seconds | None = None
    initialize_cold: Seconds | None = None
    authenticate: Seconds | None = None
    session: Seconds | None = None
    task: Seconds | None = None
    request: Seconds | None = None
    cancel_grace: Seconds | None = None
    stop: Seconds | None = None
    lost_grace: Seconds | None = None
    idle: Seconds | None = None
    lifetime: Seconds | None = None
    queue: Annotated[int, Field(ge=0, le=1000)] | None = None


class AgentTable(_Table):
    """`[agents.NAME]`: an agent kind; see `acp_runtime/session/catalogue.toml` for the shape."""

    argv: Annotated[list[Word], Field(min_length=1), AfterValidator(_program)]
    env: dict[Variable, Word] = {}
    auth_method: str | None = None
    needs_model: bool = False
    cold_start: bool = False


class SandboxTable(_Table):
    """`[sandbox]`: `image` is used instead of the base image that is built on first use; it holds git, sh, python3."""

    image: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class FileTable(_Table):
    """The whole file."""

    sandbox: SandboxTable = SandboxTable()
    limits: LimitsTable = LimitsTable()
    agents: dict[Annotated[str, Field(pattern=f"^{NAME.pattern}$")], AgentTable] = {}


@dataclass(frozen=True, slots=True)
class Config:
    """What was configured: limits, the catalogue of agent kinds, how many subagents there may be, where files go."""

    limits: Limits
    catalogue: Catalogue
    base_image: str | None
    state_dir: Path
    runtime_dir: Path
    cache_dir: Path
    admission: Admission = field(default_factory=Admission)
    one_shots: Admission = field(default_factory=lambda: Admission(2, 4, one_shot=True))


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the configuration: `path`, else `SUBAGENTS_CONFIG`, else the user's file when there is one.

    Raises `ConfigError` for a missing named file and for every mistake in it.
    """
    named = path or (Path(environ["SUBAGENTS_CONFIG"]) if environ.get("SUBAGENTS_CONFIG") else None)
    usual = config_dir(environ) / "config.toml"
    table = _read(named) if named is not None else _read(usual) if _is_there(usual) else FileTable()
    overrides = {key: value for key, value in table.limits.model_dump().items() if value is not None}
    kinds = builtin_kinds() | {name: _kind(name, entry) for name, entry in table.agents.items()}
    return Config(
        limits=replace(Limits(), **overrides),
        catalogue=Catalogue(kinds, __version__),
        base_image=table.sandbox.image,
        state_dir=state_dir(environ),
        runtime_dir=runtime_dir(environ),
        cache_dir=cache_dir(environ),
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be looked for: {error.strerror}") from error


def _kind(name: str, entry: AgentTable) -> AgentKind:
    return read_kind(name, entry.model_dump())


def _read(path: Path) -> FileTable:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {path} is not UTF-8 text (byte {error.start})") from error
    try:
        return FileTable.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError("\n".join(_mistakes(path, text, error))) from error


def _mistakes(path: Path, text: str, error: ValidationError) -> list[str]:
    found = []
    for each in error.errors(include_url=False):
        location = [str(part) for part in each["loc"] if part != "[key]"]
        line = _line_of(text, location)
        key = ".".join(location)
        found.append(f"{path}:{line}: {key}: {_sentence(each, location)}")
    return found


def _sentence(mistake: Any, location: list[str]) -> str:
    value = mistake.get("input")
    shown = f" (it is {value!r:.80})" if isinstance(value, str | int | float | bool) else ""
    if mistake["type"] == "extra_forbidden":
        tables: dict[str, type[_Table]] = {"limits": LimitsTable, "sandbox": SandboxTable, "agents": AgentTable}
        allowed = tables[location[0]] if len(location) > 1 else FileTable
        return f"unknown key; allowed: {', '.join(sorted(allowed.model_fields))}"
    message = str(mistake["msg"])
    return message[:1].lower() + message[1:] + shown


def _line_of(text: str, location: list[str]) -> int:
    """Return the line of a key, or of the deepest table above it that stands in the text; 1 when none does."""
    lines = text.splitlines()
    best = 1
    table = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")
    current: list[str] = []
    for number, line in enumerate(lines, start=1):
        if match := table.match(line):
            current = [part.strip().strip("\"'") for part in match.group(1).split(".")]
            if current and current == location[: len(current)]:
                best = number
            continue
        key = [part.strip().strip("\"'") for part in line.split("=", 1)[0].split(".")]
        full = current + key
        if "=" in line and full == location[: len(full)]:
            return number
    return best
