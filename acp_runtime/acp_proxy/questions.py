"""What the agent asks the editor for permission, while it is open: a turn that is cancelled answers what it asked.

When the editor cancels, it answers these itself. When we cancel a turn of ours, nobody else would: the agent gets
`cancelled`, the editor is told to take the question away, and an answer that it has given meanwhile is dropped.
"""

from collections.abc import Callable
from typing import Any, Final

from acp_runtime.acp_proxy.own import OwnRequests
from acp_runtime.wire import acp, jsontext
from acp_runtime.wire.acp import MAX_ID, ClientMethod

MAX_OPEN: Final = 256

Ident = str | int


class Questions:
    """Open permission requests of the agent, by their ids."""

    def __init__(self, editor: OwnRequests, say_agent: Callable[[bytes], None]) -> None:
        self._editor = editor
        self._say_agent = say_agent
        self._open: dict[Ident, str] = {}
        self._withdrawn: dict[Ident, None] = {}

    def asked(self, message: dict[str, Any]) -> None:
        """Look at a request of the agent; one with a very long id is not remembered."""
        ident, params = message.get("id"), message.get("params")
        if message["method"] != ClientMethod.SESSION_REQUEST_PERMISSION or not isinstance(params, dict):
            return
        if not isinstance(ident, str | int) or (isinstance(ident, str) and len(ident) > MAX_ID):
            return
        if len(self._open) < MAX_OPEN:
            self._withdrawn.pop(ident, None)
            self._open[ident] = acp.read_permission_request(params).session_id

    def answered(self, message: Any) -> bool:
        """Look at an answer of the editor; return whether it is one that the agent has had already."""
        ident = message.get("id") if isinstance(message, dict) else None
        if not isinstance(ident, str | int):
            return False
        self._open.pop(ident, None)
        return self._withdrawn.pop(ident, self) is None

    def withdraw(self, session: str) -> None:
        """Answer what is open in a session, since its turn is being cancelled."""
        for ident in [each for each, where in self._open.items() if where == session]:
            del self._open[ident]
            self._withdrawn[ident] = None
            while len(self._withdrawn) > MAX_OPEN:
                del self._withdrawn[next(iter(self._withdrawn))]
            answer = {"jsonrpc": "2.0", "id": ident, "result": acp.permission_outcome(None)}
            self._say_agent(jsontext.dump(answer)[:-1])
            self._editor.notify(acp.CANCEL_REQUEST, {"requestId": ident})
