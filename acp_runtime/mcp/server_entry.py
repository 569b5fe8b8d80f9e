"""Our server as a piece of a client's configuration: one member of the object, or the table, of its servers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acp_runtime.mcp import jsonc, tomltext
from acp_runtime.mcp.clients import SERVER, Client, called_of


def words_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the command line of an entry, in whichever form its client has it; empty for one that has none."""
    return [*_listed(entry.get("command", [])), *_listed(entry.get("args", []))]


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """The entry of one client's configuration."""

    client: Client
    backup: ClassVar[str] = ".before-subagents"
    by_hand: ClassVar[str] = "add the server by hand (docs/mcp.md)"

    def found(self, text: str) -> dict[str, Any] | None:
        """Return our entry as it stands."""
        found = tomltext.parse(text) if self.client.form == "toml" else jsonc.parse(text or "{}").plain
        for key in self._where:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None

    def is_ours(self, value: dict[str, Any]) -> bool:
        """Return whether an entry starts our command, wherever that is installed."""
        return called_of(words_of(value))[:1] == ["mcp"]

    def put(self, text: str, value: dict[str, Any]) -> str:
        """Return a text with our entry."""
        put = tomltext.with_table if self.client.form == "toml" else jsonc.with_member
        return put(text, self._where, value)

    def take(self, text: str) -> str:
        """Return a text without it."""
        take = tomltext.without_table if self.client.form == "toml" else jsonc.without
        return take(text, self._where)

    @property
    def _where(self) -> tuple[str, str]:
        return self.client.key, SERVER
