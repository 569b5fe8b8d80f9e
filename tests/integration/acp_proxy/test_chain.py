"""The proxy as a link of a conductor's chain."""

import json
import sys
from pathlib import Path

import pytest

from acp_runtime.core.roster import NEWS
from tests.agents.raw_client import RawClient, stop_reason
from tests.e2e.daemon_site import DaemonSite
from tests.integration.acp_proxy.conftest import AGENTS, COMMAND
from tests.integration.acp_proxy.desk import Desk

pytestmark = pytest.mark.requirement("D10.24")


@pytest.mark.parametrize("names", [(), ("--old",), ("--between",)])
def test_a_link_of_a_chain_tells_wakes_and_shows_as_a_proxy_of_its_own_does(
    site: DaemonSite, tmp_path: Path, names: tuple[str, ...]
) -> None:
    link = (sys.executable, "-I", str(COMMAND), "acp", "--wake")
    agent = (sys.executable, str(AGENTS / "parent_agent.py"), "--ask")
    editor = RawClient(tmp_path, AGENTS / "conductor.py", *names, *link, "--", *agent, **site.env)
    try:
        at = Desk(site, editor, subagents={})
        running = editor.begin("[[say:here]][[hang-politely]]")
        at.until_said("here")
        at.done("[[say:found it]]")
        editor.until(lambda message: "subagent_update" in json.dumps(message))
        editor.cancel()
        assert stop_reason(editor.answer(running)) == "cancelled"
        asked = editor.until(lambda message: message.get("method") == "session/request_permission")
        editor.messages.clear()
        prompt = {"sessionId": editor.session, "prompt": [{"type": "text", "text": "[[blocks]]"}]}
        waiting = editor.start("session/prompt", prompt)
        taken = editor.until(lambda message: message.get("method") == "$/cancel_request")
        assert taken["params"]["requestId"] == asked["id"]
        assert stop_reason(editor.answer(waiting)) == "end_turn"
        assert NEWS in at.editor.said()
        at.until_states("committed")
    finally:
        editor.stdin.close()
        editor.end()
        editor.close()


def test_a_link_that_is_used_as_an_agent_or_told_nonsense_says_so(tmp_path: Path) -> None:
    editor = RawClient(tmp_path, COMMAND, "acp", HOME=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path))
    editor.send(b"no message")
    refused = editor.call("initialize", {"protocolVersion": 1})["error"]
    assert (refused["code"], "proxy/initialize" in refused["message"]) == (-32600, True)
    editor.stdin.close()
    assert editor.end() == 0
    editor.close()
