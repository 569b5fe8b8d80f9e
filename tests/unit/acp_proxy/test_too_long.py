"""Lines over the cap: who waits for an answer is told, on either side and in a chain."""

import json
from typing import Any

import pytest

from acp_runtime.acp_proxy.chain import Chain
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.identity import HostTools
from acp_runtime.wire.ndjson import Oversized

pytestmark = pytest.mark.requirement("D10.20")

Said = list[bytes]


def long(**message: Any) -> Oversized:
    """Return what is kept of a long message."""
    return Oversized.of(json.dumps({"jsonrpc": "2.0", **message, "x": "y" * 20_000}).encode())


def short(lines: Said) -> list[tuple[Any, Any]]:
    """Return the ids and the codes of answers."""
    return [(told["id"], told["error"]["code"]) for told in map(json.loads, lines)]


@pytest.mark.parametrize(
    ("line", "to_agent", "to_editor"),
    [
        (long(id=7, result={}), [(7, -32603)], []),
        (long(result={}, id="seven"), [("seven", -32603)], []),
        (long(id=7, method="session/prompt"), [], [(7, -32600)]),
        (long(method="session/cancel"), [], []),
        (long(id=None, result={}), [], []),
    ],
)
def test_an_editor_that_says_too_much_at_once_keeps_nobody_waiting(
    line: Oversized, to_agent: list[Any], to_editor: list[Any]
) -> None:
    told: Said = []
    conversation = Conversation(HostTools({}), say_editor=told.append, say_agent=told.append)
    passed = conversation.from_editor(line)
    assert isinstance(passed, list)
    assert (short(passed), short(told)) == (to_agent, to_editor)


def test_an_answer_of_the_agent_that_is_too_long_is_told_to_who_asked_in_a_chain_too() -> None:
    out: Said = []
    chain = Chain(out.append, lambda to_agent: Conversation(HostTools({}), say_editor=out.append, say_agent=to_agent))
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "proxy/initialize", "params": {}}).encode()
    assert isinstance(chain.from_editor(asked), list)
    line = long(id=1, result={})
    assert chain.is_from_agent(line)
    assert short(chain.from_agent(line)) == [(1, -32603)]
    assert not chain.is_from_agent(line), "nothing waits for it any more"
