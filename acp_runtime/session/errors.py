"""What can go wrong in a session.

SessionError
├── AgentError            the agent answered with an error, or not as the protocol says
│   └── LoginNeededError  the agent wants somebody to log in first
└── SessionClosedError    the channel ended while an answer was awaited
"""


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
