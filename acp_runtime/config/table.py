"""What every table of the configuration is made of: the base model, the field of a key, the types of values."""

import re
import shlex
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from acp_runtime.carrying.headers import is_harmless
from acp_runtime.core.confinement import RUNTIME
from acp_runtime.core.errors import Rejected
from acp_runtime.egress.rules import Rules

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
HEADER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
YEAR: Final = 31_536_000
NEVER: Final = "none"


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "a NUL character cannot be passed to a program; remove it")
    return text


def program(argv: list[str]) -> list[str]:
    if not argv[0]:
        raise PydanticCustomError("no_program", "the first word is empty; name the program")
    return argv


def command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise PydanticCustomError("no_command", "the quotes do not close") from error
    if not words or not words[0]:
        raise PydanticCustomError("no_command", "it is empty; name the program")
    return text


def below(path: str) -> str:
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise PydanticCustomError("no_folder", "it must be a folder below the workspace")
    return path


def absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise PydanticCustomError("no_path", "it must be an absolute path without '..'")
    return path


def egress_rules(texts: list[str]) -> list[str]:
    try:
        return list(Rules.parse(texts).texts)
    except Rejected as error:
        raise PydanticCustomError("no_rule", "{why}", {"why": str(error)}) from error


def header_names(names: list[str]) -> list[str]:
    for name in names:
        if not HEADER.fullmatch(name) or not is_harmless(name.lower().encode()):
            why = (
                "{name} is no header's name, or one of a credential, of another host or of the connection; leave it out"
            )
            raise PydanticCustomError("no_header", why, {"name": repr(name[:80])})
    return [name.lower() for name in names]


def _never(value: Any) -> Any:
    return None if value == NEVER else value


def key(default: Any, sentence: str, unit: str = "", *, never: bool = False) -> Any:
    """Return the field of one key: its default, what it is for, the unit of its value, and whether `none` is one."""
    return Field(default, description=sentence, json_schema_extra={"unit": unit, "never": never})


Seconds = Annotated[float, Field(gt=0, le=YEAR)]
OrNever = BeforeValidator(_never)
Word = Annotated[str, AfterValidator(_without_nul)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Path = Annotated[Word, AfterValidator(absolute)]
Runtime = Annotated[str, Field(pattern=f"^{RUNTIME.pattern}$")]
Dollars = Annotated[float, Field(ge=0, le=1_000_000)]
Tokens = Annotated[int, Field(ge=1, le=10**15)]
ModelName = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
Count = Annotated[int, Field(ge=1, le=100_000)]


class Table(BaseModel):
    """One table: no key beyond the listed ones, no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
