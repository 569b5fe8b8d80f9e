"""Whether the keys that the configuration names for models are there: for the doctor."""

import asyncio
from collections.abc import Mapping
from typing import Final

from acp_runtime.cli.finding import Finding, Mark
from acp_runtime.config import UsualModel
from acp_runtime.core.errors import Rejected
from acp_runtime.keys import key_source
from acp_runtime.keys.login import KeyLogin
from acp_runtime.keys.variable import KeyVariable

ELSEWHERE: Final = "; the daemon has the variables of whoever started it"


async def about_keys(models: Mapping[str, UsualModel], environ: Mapping[str, str]) -> list[Finding]:
    """Say of each agent kind whose model has a key if that is there, by the name of its source.

    It is read as a start would read it: a program that gives it is run, and has its minute. But a login is only looked
    at, since reading one may renew it.
    """
    asked = [(kind, model.key) for kind, model in models.items() if model.key is not None]
    return await asyncio.gather(*(_about(kind, key, environ) for kind, key in asked))


async def _about(kind: str, key: str, environ: Mapping[str, str]) -> Finding:
    source = key_source(key, environ)
    where = ELSEWHERE if isinstance(source, KeyVariable) else ""
    if isinstance(source, KeyLogin):
        state = source.state()
        return _finding(f"{kind}: {source.name}: {state}", there=state.startswith("there"))
    try:
        await source.read()
    except Rejected as error:
        return _finding(f"{kind}: {str(error).rstrip('.')}{where}", there=False)
    return _finding(f"{kind}: {source.name} is there{where}", there=True)


def _finding(sentence: str, *, there: bool) -> Finding:
    return Finding(Mark.GOOD if there else Mark.WARN, "key", sentence)
