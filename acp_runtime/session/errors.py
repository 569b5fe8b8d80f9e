"""What can go wrong in a session.

SessionError
├── AgentError            the agent answered with an error, or not as the protocol says
│   └── LoginNeededError  the agent wants somebody to log in first
└── SessionClosedError    the channel ended while an answer was awaited
"""

from acp_runtime.core.plaintext import one_line
from acp_runtime.wire.jsonrpc import RpcError


class SessionError(Exception):
    """Root of the tree; never raised itself."""


class AgentError(SessionError):
    """The agent's answer is an error or cannot be used. `code` is its JSON-RPC code, when it gave one."""

    def __init__(self, sentence: str, code: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code


class LoginNeededError(AgentError):
    """The agent refuses to make a session before a login."""


class SessionClosedError(SessionError):
    """The channel ended; the text is the reason it gave."""


def agent_error(method: str, error: RpcError) -> AgentError:
    """Return what to raise for an answer that is an error."""
    detail = one_line(error.message, 500)
    code = f" (code {error.code})" if error.code is not None else ""
    return AgentError(f"the agent answered {method} with an error{code}: {detail}", error.code)
