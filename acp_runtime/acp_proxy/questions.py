"""What the agent asks the person at the editor, while it is open: a turn that is cancelled answers what it asked.

When the editor cancels, it answers these itself. When we cancel a turn of ours, nobody else would: the agent is told
that it was cancelled, the editor to take the question away, and an answer that it has given meanwhile is dropped.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from acp_runtime.acp_proxy.own import OwnRequests
from acp_runtime.wire import acp, acp_client, jsontext
from acp_runtime.wire.acp import MAX_ID, ClientMethod
from acp_runtime.wire.elicitation import elicitation_outcome

MAX_OPEN: Final = 256
_CANCELLED: Final[Mapping[str, dict[str, Any]]] = {
    ClientMethod.SESSION_REQUEST_PERMISSION: acp.permission_outcome(None),
    ClientMethod.ELICITATION_CREATE: elicitation_outcome(""),
}

Ident = str | int


class Questions:
    """Open questions of the agent, by their ids."""

    def __init__(self, editor: OwnRequests, say_agent: Callable[[bytes], None]) -> None:
        self._editor = editor
        self._say_agent = say_agent
        self._open: dict[Ident, tuple[str, dict[str, Any]]] = {}
        self._withdrawn: dict[Ident, None] = {}

    def asked(self, message: dict[str, Any]) -> None:
        """Look at a request of the agent; one with a very long id is not remembered."""
        ident, method = message.get("id"), message["method"]
        if not isinstance(method, str) or method not in _CANCELLED:
            return
        if not isinstance(ident, str | int) or (isinstance(ident, str) and len(ident) > MAX_ID):
            return
        if len(self._open) < MAX_OPEN:
            self._withdrawn.pop(ident, None)
            self._open[ident] = acp_client.read_session(message.get("params")), _CANCELLED[method]

    def answered(self, message: Any) -> bool:
        """Look at an answer of the editor; return whether it is one that the agent has had already."""
        ident = message.get("id") if isinstance(message, dict) else None
        if not isinstance(ident, str | int):
            return False
        self._open.pop(ident, None)
        return self._withdrawn.pop(ident, self) is None

    def withdraw(self, session: str) -> None:
        """Answer what is open in a session, since its turn is being cancelled."""
        for ident in [each for each, (where, _) in self._open.items() if where == session]:
            _, cancelled = self._open.pop(ident)
            self._withdrawn[ident] = None
            while len(self._withdrawn) > MAX_OPEN:
                del self._withdrawn[next(iter(self._withdrawn))]
            answer = {"jsonrpc": "2.0", "id": ident, "result": cancelled}
            self._say_agent(jsontext.dump(answer)[:-1])
            self._editor.notify(acp.CANCEL_REQUEST, {"requestId": ident})
