"""Which bytes of a client are a message."""

import mcp_types as types
import pytest

from acp_runtime.mcp.message import NoMessage, message_of


@pytest.mark.parametrize("ident", ["null", "true", "1.5", "[]"])
def test_a_request_is_answered_or_refused_and_a_notification_never(ident: str) -> None:
    with pytest.raises(NoMessage, match="the id of a request is a text or a whole number"):
        message_of(b'{"jsonrpc": "2.0", "id": %s, "method": "tools/list"}' % ident.encode())
    told = message_of(b'{"jsonrpc": "2.0", "id": %s, "method": "notifications/initialized"}' % ident.encode())
    assert isinstance(told, types.JSONRPCNotification)


def test_a_message_keeps_all_of_its_params() -> None:
    line = b'{"jsonrpc": "2.0", "id": "a", "method": "m", "params": {"x": null, "_meta": {"y": [1.5]}}, "more": 1}'
    said = message_of(line)
    assert isinstance(said, types.JSONRPCRequest)
    assert (said.id, said.params) == ("a", {"x": None, "_meta": {"y": [1.5]}})
