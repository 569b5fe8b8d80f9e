"""Which hosts have hooks, what they call the events, and in which words they take an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Event = Literal["prompt", "stop", "session"]
EVENTS: Final[tuple[Event, ...]] = ("prompt", "stop", "session")


@dataclass(frozen=True, slots=True)
class HookHost:
    """One host. `names` are its events for ours; `block` is its word for going on instead of stopping.

    Hosts give an event as one JSON object on standard input, with `session_id` and `cwd`, and take one back.
    """

    client: str
    names: Mapping[Event, str]
    block: str

    def context(self, text: str) -> dict[str, Any]:
        """Return the answer that puts a text beside the user's prompt."""
        return {"hookSpecificOutput": {"hookEventName": self.names["prompt"], "additionalContext": text}}

    def go_on(self, text: str) -> dict[str, Any]:
        """Return the answer that has the model go on with a text instead of stopping."""
        return {"decision": self.block, "reason": text}


_CLAUDES: Final[Mapping[Event, str]] = {"prompt": "UserPromptSubmit", "stop": "Stop", "session": "SessionStart"}
_GEMINIS: Final[Mapping[Event, str]] = {"prompt": "BeforeAgent", "stop": "AfterAgent", "session": "SessionStart"}
HOSTS: Final[Mapping[str, HookHost]] = {
    each.client: each
    for each in (
        HookHost("claude", _CLAUDES, "block"),
        HookHost("codex", _CLAUDES, "block"),
        HookHost("gemini", _GEMINIS, "deny"),
    )
}
# The beginnings of a session that goes on under another id.
GOES_ON: Final = frozenset({"clear", "compact"})
