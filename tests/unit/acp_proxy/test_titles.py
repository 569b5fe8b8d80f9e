"""Titles that an agent makes of its user's prompts, which end with our block."""

import json
from typing import Any

import pytest

from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.identity import HostTools
from acp_runtime.core.roster import RosterLine, render_block

BLOCK = render_block((RosterLine("bg-0", "amber-fox", "idle", "opencode", False, "count sheep", "11-20T12:00Z"),), ())
TITLES = [(f"look at it {BLOCK[:50]}…", "look at it"), (BLOCK, None), ("look", "look"), (None, None), (1.0, 1.0)]


@pytest.fixture
def conversation() -> Conversation:
    """A conversation in which the agent has answered `initialize`, and was asked for its sessions with id 2."""
    made = Conversation(HostTools({}), say_editor=lambda _: None, say_agent=lambda _: None)
    made.from_editor(line(id=1, method="initialize", params={"protocolVersion": 1}))
    made.from_agent(line(id=1, result={"protocolVersion": 1}))
    made.from_editor(line(id=2, method="session/list", params={}))
    return made


def line(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **fields}).encode()


@pytest.mark.requirement("D10.21")
@pytest.mark.parametrize(("title", "shown"), TITLES, ids=["cut off", "alone", "plain", "none", "no title"])
def test_the_title_of_a_session_is_made_of_its_users_words(conversation: Conversation, title: Any, shown: Any) -> None:
    def told(title: Any) -> bytes:
        update = {"sessionUpdate": "session_info_update", "title": title, "n": 1.0, "_meta": None}
        return line(method="session/update", params={"sessionId": "s", "update": update})

    def listed(title: Any) -> bytes:
        return line(id=2, result={"sessions": [{"sessionId": "s", "title": title, "n": 1.0}, {"sessionId": "t"}]})

    for message in (told, listed):
        (passed,) = conversation.from_agent(message(title))
        assert json.loads(passed) == json.loads(message(shown))
        assert title != shown or passed == message(title), "it is passed on as it came"
