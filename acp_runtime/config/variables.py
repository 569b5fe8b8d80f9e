"""The variables `SUBAGENTS_*`: one for each plain key, its path in capitals, as `SUBAGENTS_LIMITS_TASK`.

A variable that begins like a table's and names no key is a mistake; others are not ours to judge.
"""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from acp_runtime.config.mistakes import ConfigError, mistakes
from acp_runtime.config.nested import Nested, put
from acp_runtime.config.reference import PREFIX, all_keys
from acp_runtime.config.tables import FileTable


def read_variables(environ: Mapping[str, str]) -> tuple[Nested, dict[str, str]]:
    """Return what the environment sets, as the file would have it, and the origin of each key.

    An empty variable counts as unset. Raises `ConfigError`.
    """
    known = {key.variable: key.path for key in all_keys() if key.variable}
    given = {name: path for name, path in known.items() if environ.get(name)}
    _refuse_unknown(environ, known)
    texts: Nested = {}
    for name, path in given.items():
        put(texts, path, environ[name])
    try:
        table = FileTable.model_validate_strings(texts, strict=False)
    except ValidationError as error:
        raise ConfigError("\n".join(mistakes(error, _named, FileTable))) from error
    origins = {".".join(path): f"environment {name}" for name, path in given.items()}
    return table.model_dump(exclude_unset=True), origins


def _named(location: Sequence[str]) -> str:
    return f"environment {PREFIX}{'_'.join(location).upper()}"


def _refuse_unknown(environ: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> None:
    tables = {f"{PREFIX}{path[0].upper()}_" for path in known.values() if len(path) > 1}
    for name in sorted(environ):
        table = next((each for each in tables if name.startswith(each)), None)
        if table is not None and name not in known:
            allowed = ", ".join(sorted(each for each in known if each.startswith(table)))
            raise ConfigError(f"environment {name}: unknown variable; allowed: {allowed}")
