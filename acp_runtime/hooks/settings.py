"""Our hooks as a piece of a host's settings: where they are, what is written there, and what of it is ours.

A host keeps, for each of its events, a list of groups of hooks. Ours is a group of its own in each of three lists;
what else is in them is its user's and stays.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from acp_runtime.hooks.hosts import EVENTS, HOSTS, HookHost
from acp_runtime.mcp import jsonc
from acp_runtime.mcp.clients import Command, Environ, called_of, home

KEY: Final = "hooks"
# After which a host gives up a hook, beside the hook's own bound: a machine may be too busy to start it.
GIVE_UP_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Where one host keeps its hooks. `unit`: what a second is to it. `word`: what its user has to do beside."""

    host: HookHost
    user: Callable[[Environ], Path]
    project: str
    unit: int = 1
    word: str = ""

    def file(self, environ: Environ, project: Path | None) -> Path:
        """Return the user's file, or that of a project."""
        return self.user(environ) if project is None else project / self.project

    def handlers(self, program: Command, parent: str | None, within: int | None) -> dict[str, list[dict[str, Any]]]:
        """Return our hooks by the host's names of the events. `within`: their bound, in milliseconds."""
        more: Command = () if parent is None else ("--parent", parent)
        more += () if within is None else ("--within", str(within))
        client = self.host.client
        seconds = GIVE_UP_SECONDS + (within or 0) // 1000
        return {
            self.host.names[event]: [
                {
                    "type": "command",
                    "command": shlex.join((*program, "hook", event, "--client", client, *more)),
                    "timeout": seconds * self.unit,
                }
            ]
            for event in EVENTS
        }


SETTINGS: Final[Mapping[str, HookSettings]] = {
    each.host.client: each
    for each in (
        HookSettings(
            HOSTS["claude"],
            lambda environ: home(environ, "CLAUDE_CONFIG_DIR", ".claude") / "settings.json",
            ".claude/settings.local.json",
        ),
        HookSettings(
            HOSTS["codex"],
            lambda environ: home(environ, "CODEX_HOME", ".codex") / "hooks.json",
            ".codex/hooks.json",
            word="Codex runs them once you have looked at them: type /hooks in it",
        ),
        HookSettings(
            HOSTS["gemini"],
            lambda environ: home(environ, "GEMINI_CLI_HOME", "") / ".gemini" / "settings.json",
            ".gemini/settings.json",
            unit=1000,
        ),
    )
}


class HookEntries:
    """Our hooks in a text."""

    backup: ClassVar[str] = ".before-subagents-hooks"
    by_hand: ClassVar[str] = "add the hooks by hand (docs/hooks.md)"

    def found(self, text: str) -> dict[str, list[Any]] | None:
        """Return our hooks by the names of their events."""
        found: dict[str, list[Any]] = {}
        for event, groups in _lists(text):
            if ours := [each for group in groups for each in _handlers(group) if _is_ours(each)]:
                found[event] = ours
        return found or None

    def is_ours(self, value: Mapping[str, list[Any]]) -> bool:  # noqa: ARG002 - nothing else is found
        return True

    def put(self, text: str, value: Mapping[str, list[dict[str, Any]]]) -> str:
        """Return a text with our hooks, in place of those there were."""
        if self.found(text) == value:
            return text
        text = self.take(text)
        for event, handlers in value.items():
            text = jsonc.with_item(text, (KEY, event), {"hooks": handlers})
        return text

    def take(self, text: str) -> str:
        """Return a text without our hooks, nor what would be left empty by that."""
        for event, groups in _lists(text):
            left = len(groups)
            for number in reversed(range(len(groups))):
                handlers = _handlers(groups[number])
                ours = [at for at, each in enumerate(handlers) if _is_ours(each)]
                if ours and len(ours) == len(handlers):
                    text = jsonc.without(text, (KEY, event, number))
                    left -= 1
                    continue
                for at in reversed(ours):
                    text = jsonc.without(text, (KEY, event, number, "hooks", at))
            if groups and not left:
                text = _without_empty(text, event)
        return text


def _lists(text: str) -> Iterator[tuple[str, list[Any]]]:
    """Return the lists of groups by their events."""
    plain = jsonc.parse(text).plain if text.strip() else {}
    hooks = plain.get(KEY) if isinstance(plain, dict) else None
    for event, groups in hooks.items() if isinstance(hooks, dict) else ():
        if isinstance(groups, list):
            yield event, groups


def _without_empty(text: str, event: str) -> str:
    text = jsonc.without(text, (KEY, event))
    return text if jsonc.parse(text).plain[KEY] else jsonc.without(text, (KEY,))


def _handlers(group: Any) -> list[Any]:
    handlers = group.get("hooks") if isinstance(group, dict) else None
    return handlers if isinstance(handlers, list) else []


def _is_ours(handler: Any) -> bool:
    """Return whether a hook runs our command, wherever it is installed."""
    command = handler.get("command") if isinstance(handler, dict) else None
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return False
    called = called_of(words)
    return called[:1] == ["hook"] and called[1:2] in [[each] for each in EVENTS]
