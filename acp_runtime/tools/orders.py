"""From what a model asks for to what is spawned: folders, settings, and which overrides an agent can honour.

An override that cannot be honoured is refused by name, never dropped; one that becomes prompt text is told so.
docs/tools.md shows `OVERRIDES` as a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pydantic import JsonValue

from acp_runtime.core.errors import Rejected
from acp_runtime.core.legacy_text import WORKSPACE
from acp_runtime.core.plaintext import one_line
from acp_runtime.service.order import SpawnRequest, carried, says_something, text_of
from acp_runtime.tools.inputs import TaskInput
from acp_runtime.tools.tool import Desk

INSIDE: Final = PurePosixPath(WORKSPACE)


@dataclass(frozen=True, slots=True)
class Override:
    """One setting of a call and what becomes of it. `how` is the prompt text, or says who decides instead."""

    name: str
    becomes: Literal["setting", "prompt text", "refused"]
    how: str


OVERRIDES: Final = (
    Override("agent_kind", "setting", "any kind of the catalogue; an unknown one is refused"),
    Override("model", "setting", "for kinds that take a model's name; refused by the others"),
    Override("preset", "setting", "any configured preset up to the parent's own; an unknown one is refused"),
    Override("role", "setting", "`leaf`, or `orchestrator` where trees may be so deep; else a leaf, with a warning"),
    Override(
        "result_schema", "setting", "a JSON schema of at most 16,384 characters; the agent's report is held to it"
    ),
    Override("context", "prompt text", "CONTEXT:\n{}"),
    Override("skill", "prompt text", "# Skill: {0}\nUse the skill {0}."),
    Override("toolsets", "prompt text", "Use only these kinds of tools: {}."),
    Override("max_iterations", "prompt text", "Use at most {} steps."),
    Override("provider", "refused", "the operator decides which address and which key lead to a model"),
)


def instructions(given: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the text that overrides become, and one note for each.

    Raises `Rejected` (override_refused) for one that cannot be honoured.
    """
    texts, notes = [], []
    for override in OVERRIDES:
        value = given.get(override.name)
        if value is None or override.becomes == "setting":
            continue
        if override.becomes == "refused":
            sentence = f"{override.name} cannot be set by a call: {override.how}; leave it out"
            raise Rejected("override_refused", sentence, {"override": override.name})
        told = carried(override.name, ", ".join(value) if isinstance(value, list) else str(value))
        texts.append(override.how.format(told))
        notes.append(f"{override.name} became part of the instructions; nothing enforces it.")
    return "\n\n".join(texts), notes


def order_of(desk: Desk, given: TaskInput) -> SpawnRequest:
    """Return what a model asked for as a request. Raises `Rejected` (invalid) with the names that the model knows."""
    if not says_something(given.cwd):
        raise Rejected("invalid", "cwd is required.")
    return request(
        desk,
        task=text_of("initial_task", given.initial_task),
        purpose=text_of("purpose", given.purpose),
        cwd=below(desk.workspace, given.cwd),
        agent=given.agent_kind,
        model=given.model,
        preset=given.preset,
        one_shot=given.one_shot,
        role=given.role or "",
        result_schema=given.result_schema,
    )


def request(
    desk: Desk,
    *,
    task: str,
    purpose: str,
    cwd: str = "",
    agent: str | None = None,
    model: str | None = None,
    preset: str | None = None,
    one_shot: bool = False,
    role: str = "",
    result_schema: dict[str, JsonValue] | None = None,
    more: str = "",
) -> SpawnRequest:
    """Return a request with the desk's defaults for what is None; its model is meant for its agent kind only."""
    defaults = desk.defaults
    usual = defaults.model if agent in (None, defaults.agent) else None
    return SpawnRequest(
        agent=agent or defaults.agent,
        workspace=desk.workspace,
        task=task,
        purpose=purpose,
        cwd=cwd,
        preset=defaults.preset if preset is None else preset,
        instructions=more,
        keep=not one_shot,
        one_shot=one_shot,
        role=role,
        result_schema=result_schema,
        model=model or usual,
        model_url=defaults.model_url,
        model_key=defaults.model_key,
    )


def below(workspace: Path, cwd: str) -> str:
    """Return a folder that a model named as one below the workspace.

    It may name it as the agent sees it (`/workspace/src`) or as it stands on the host. Raises `Rejected` (invalid).
    """
    named, shown = PurePosixPath(carried("cwd", cwd).strip()), one_line(cwd, 200)
    if not named.is_absolute():
        example = f"{WORKSPACE}/{shown}" if ".." not in named.parts else WORKSPACE
        raise Rejected("invalid", f"cwd {shown!r} is relative; name the folder inside the container, such as {example}")
    for root in (INSIDE, PurePosixPath(workspace)):
        if named.is_relative_to(root) and ".." not in named.parts:
            inside = named.relative_to(root)
            return "" if inside == PurePosixPath() else str(inside)
    raise Rejected("invalid", f"cwd {shown!r} is outside the workspace; name {WORKSPACE} or a folder below it")
