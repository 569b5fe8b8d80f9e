"""What we understand of a client's words in the Agent Client Protocol, where we stand in an agent's place.

As with an agent's words (`wire.acp`): whatever was sent, nothing here raises, and what is missing or of the wrong type
reads as the default.
"""

from dataclasses import dataclass
from typing import Any

from acp_runtime.wire.acp import MAX_ID, MAX_TEXT


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says of itself in `initialize`."""

    name: str = ""
    notices: bool = False
    subagents: bool = False
    forms: bool = False


def read_client(params: Any) -> ClientHello:
    """Read the params of `initialize`."""
    params = _dict(params)
    offered, name = _dict(params.get("clientCapabilities")), _dict(params.get("clientInfo")).get("name")
    return ClientHello(
        name=name[:MAX_TEXT] if isinstance(name, str) else "",
        notices=_offered(_dict(offered.get("session")).get("notices")),
        subagents=_offered(offered.get("subagents")),
        forms=_offered(_dict(offered.get("elicitation")).get("form")),
    )


def read_permission_outcome(result: Any) -> str | None:
    """Return the option that a client chose in the result of `session/request_permission`, None for none."""
    outcome = _dict(_dict(result).get("outcome"))
    return _ident(outcome.get("optionId")) or None if outcome.get("outcome") == "selected" else None


def read_elicitation_outcome(result: Any) -> tuple[str, dict[str, Any]]:
    """Return the action in the result of `elicitation/create`, and its content as it is."""
    action, content = _dict(result).get("action"), _dict(_dict(result).get("content"))
    return (action, content) if isinstance(action, str) else ("", {})


def read_session(value: Any) -> str:
    """Return the id of the session that an object names, empty for none."""
    return _ident(_dict(value).get("sessionId"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _ident(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_ID else ""


def _offered(marker: Any) -> bool:
    return isinstance(marker, dict) or marker is True
