"""What a tool is: a name, a sentence that says when to use it, an input, and a handler over the facade."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from acp_runtime.clock import SystemClock
from acp_runtime.service.facade import Facade
from acp_runtime.service.inside import Inside
from acp_runtime.tools.limits import Limits

Answer = dict[str, Any]

START_SECONDS: Final = 20.0
# Hosts give a tool about a minute; what waits ends well before.
LONGEST_WAIT: Final = 40.0


class Input(BaseModel):
    """Base of the inputs. A parameter that a tool does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a spawn takes where the call does not say it; what is empty here is as the runtime was configured.

    `model` is meant for `agent`.
    """

    agent: str = ""
    model: str | None = None
    model_url: str | None = None
    model_key: str | None = None
    preset: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """For whom tools work: one parent and its workspace, and how long they may take.

    `limits` are told with the tools where they are known. `longest_wait` bounds the tools that wait; None for a host in
    Python, which may wait as long as it asks for. `inside`: where the parent is a subagent, what its own tools do.
    """

    runtime: Facade
    parent: str
    workspace: Path
    defaults: Defaults = Defaults()
    enabled: bool = True
    limits: Limits | None = None
    longest_wait: float | None = LONGEST_WAIT
    start_wait: float = START_SECONDS
    inside: Inside | None = None
    wall: Callable[[], datetime] = field(default_factory=lambda: SystemClock().wall)

    def bounded(self, seconds: float) -> float:
        """Return how long a tool may wait when its caller asks for `seconds`."""
        return seconds if self.longest_wait is None else min(seconds, self.longest_wait)


@dataclass(frozen=True, slots=True)
class Tool:
    """One row of a table. `kind` says in ACP's word whether it changes something.

    Of those that do: `destructive` ends something, and calling a `repeatable` one again changes nothing more.
    `open_world`: an agent acts on it, whose sandbox may reach hosts of the network.
    """

    name: str
    sentence: str
    model: type[Input]
    handler: Callable[[Desk, Any], Awaitable[Answer]]
    kind: Literal["read", "execute"]
    destructive: bool = False
    repeatable: bool = False
    open_world: bool = False
    limited: Callable[[Limits], str] | None = None

    def schema(self, limits: Limits | None = None) -> Answer:
        """Return the tool as models are told about it: JSON Schema without what only programs want."""
        schema = self.model.model_json_schema()
        about = self.sentence
        if limits is not None and self.limited is not None:
            about = f"{about} {self.limited(limits)}"
        return {"name": self.name, "description": about, "parameters": _bare(schema, schema.get("$defs", {}))}


def _bare(schema: Any, shared: dict[str, Any]) -> Any:
    """Return a schema with definitions put in place, and without titles, defaults and the null of optional fields."""
    if isinstance(schema, list):
        return [_bare(each, shared) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _bare(shared[schema["$ref"].rpartition("/")[2]], shared)
    kept = {name: each for name, each in schema.items() if name not in ("title", "default", "$defs", "description")}
    if "description" in schema and "properties" not in schema:
        kept["description"] = schema["description"]
    if "anyOf" in kept:
        (only,) = (each for each in kept.pop("anyOf") if each != {"type": "null"})
        kept = {**_bare(only, shared), **kept}
    if "properties" in kept:
        properties = {name: _bare(each, shared) for name, each in kept.pop("properties").items()}
        return {**{name: _bare(each, shared) for name, each in kept.items()}, "properties": properties}
    return {name: _bare(each, shared) for name, each in kept.items()}
