"""What the agent of an editor is told of its subagents: in its prompts, while it works, and by a turn of its own."""

import os
import signal
from pathlib import Path

import pytest

from acp_runtime.core.roster import HEADING, NEWS, OPEN_TAG
from tests.agents.raw_client import LIMIT, stop_reason
from tests.e2e.daemon_site import DaemonSite
from tests.integration.acp_proxy.conftest import COMMAND, Sit, Start
from tests.integration.acp_proxy.desk import CAPABILITIES, CHANGES

pytestmark = pytest.mark.requirement("D10.22")


def test_the_block_is_the_last_one_of_a_prompt_and_a_nudge_is_told_once(desk: Sit) -> None:
    at = desk()
    assert at.blocks() == ["[[blocks]]"]
    subagent = at.done("[[say:found it]]")
    user, block = at.blocks()
    assert user == "[[blocks]]"
    assert block.startswith(f"{OPEN_TAG}\n{NEWS}\n")
    assert (block.count(subagent), "found it" in block, HEADING in block) == (3, True, True)
    at.until_states("committed")
    assert at.blocks() == ["[[blocks]]"], "nothing is new, and the roster is what it was"
    at.call("stop", subagent=subagent, finished=True)
    assert at.blocks() == ["[[blocks]]"]


def test_a_slash_command_is_left_alone_and_what_it_was_not_told_is_told_by_the_next_prompt(
    desk: Sit,
) -> None:
    at = desk()
    at.done("[[say:found it]]")
    assert at.blocks("/compact [[blocks]]") == ["/compact [[blocks]]"]
    assert len(at.blocks()) == 2


@pytest.mark.parametrize("end", ["[[error:-32603|the model is away]]", "[[stop:refusal]]"])
def test_what_stood_in_a_prompt_that_its_model_did_not_take_is_told_again(desk: Sit, end: str) -> None:
    at = desk()
    at.done("[[say:found it]]")
    at.editor.prompt(end)
    assert at.states() == ["claimed"]
    assert "found it" in at.blocks()[1]
    at.until_states("committed")


def test_a_session_that_is_loaded_shows_what_its_user_wrote_and_keeps_its_subagents(desk: Sit, tmp_path: Path) -> None:
    history = f"--history={tmp_path / 'history'}"
    at = desk(history)
    subagent = at.done("[[say:found it]]")
    assert len(at.blocks("please <look> [[blocks]]")) == 2
    at.until_states("committed")
    again = desk(history, session=at.editor.session)
    told = [each["content"]["text"] for each in again.replayed if each["sessionUpdate"] == "user_message_chunk"]
    assert "".join(told) == "[[servers]]please <look> [[blocks]]"
    assert again.parent != at.parent
    assert [each["id"] for each in again.call("list_subagents")] == [subagent]


def test_what_was_shown_and_not_acknowledged_is_told_again_by_the_proxy_after_a_killed_one(
    desk: Sit, tmp_path: Path
) -> None:
    history = f"--history={tmp_path / 'history'}"
    at = desk(history)
    at.done("[[say:found it]]")
    at.editor.begin("[[blocks]][[hang]]")
    at.until_said("found it")
    at.editor.process.kill()
    assert at.editor.end() == -signal.SIGKILL
    again = desk(history, session=at.editor.session)
    assert "found it" in (tmp_path / "history").read_text().splitlines()[-1]
    again.until_states("committed")
    assert again.blocks() == ["[[blocks]]"]


def test_news_goes_into_a_running_turn_and_is_told_nowhere_else(desk: Sit, tmp_path: Path) -> None:
    at = desk(f"--steering={tmp_path / 'word'}")
    running = at.editor.begin(f"[[say:here]][[wait:{tmp_path / 'go'}]]")
    at.until_said("here")
    at.done("[[say:found it]]")
    assert "found it" in at.until_said("heard: <background-subagents>")
    at.until_states("committed")
    (tmp_path / "go").touch()
    assert stop_reason(at.editor.answer(running)) == "end_turn"
    assert at.blocks() == ["[[blocks]]"]
    assert not [each for each in at.editor.messages if str(each.get("id", "")).startswith("acp-subagents")]


@pytest.mark.parametrize("word", ["failed", "promptRequired", "startedNewTurn", "nonsense"])
def test_news_that_did_not_go_into_the_turn_is_told_by_the_next_prompt(desk: Sit, tmp_path: Path, word: str) -> None:
    (tmp_path / "word").write_text(word)
    at = desk(f"--steering={tmp_path / 'word'}")
    running = at.editor.begin(f"[[say:here]][[wait:{tmp_path / 'go'}]]")
    at.until_said("here")
    at.done("[[say:found it]]")
    at.until_said("heard: <background-subagents>")
    (tmp_path / "go").touch()
    at.editor.answer(running)
    assert "found it" in at.blocks()[1]
    at.until_states("committed")


def test_an_idle_parent_is_woken_where_that_was_asked_for(desk: Sit) -> None:
    at = desk(options=("--wake",))
    at.editor.messages.clear()
    at.done("[[say:found it]]")
    assert "found it" in at.until_said("</background-subagents>")
    assert [each["severity"] for each in at.editor.updates() if each["sessionUpdate"] == "notice"] == ["info"]
    at.until_states("committed")
    assert at.blocks() == ["[[blocks]]"]
    assert all("method" in each or each["id"] == at.editor.ids for each in at.editor.messages)


def test_the_editors_prompt_wins_over_a_turn_of_ours(desk: Sit) -> None:
    at = desk("--ask", options=("--wake",))
    at.editor.messages.clear()
    at.done("[[say:found it]]")
    asked = at.editor.until(lambda message: message.get("method") == "session/request_permission")
    assert asked["params"]["sessionId"] == at.editor.session
    prompt = at.editor.start(
        "session/prompt", {"sessionId": at.editor.session, "prompt": [{"type": "text", "text": "[[blocks]]"}]}
    )
    taken = at.editor.until(lambda message: message.get("method") == "$/cancel_request")
    assert taken["params"]["requestId"] == asked["id"]
    at.editor.message(id=asked["id"], result={"outcome": {"outcome": "selected", "optionId": "opt-0"}})
    assert stop_reason(at.editor.answer(prompt)) == "end_turn"
    said = at.editor.said()
    assert "cancelled" in said[: said.index("[{")]
    assert "found it" in said[said.index("[{") :]
    at.until_states("committed")
    assert [each["id"] for each in at.editor.messages if "method" not in each][-1] == prompt


def test_a_nudge_is_acknowledged_once_with_two_doors_at_once(desk: Sit) -> None:
    at = desk()
    at.done("[[say:one]]")
    by_tools = at.call("begin_turn", door="mcp", turn_id="tools-1")
    assert len(by_tools["nudges"]) == 1
    (user, block) = at.blocks()
    assert NEWS not in block, "the tools hold it"
    at.site.client.call("commit_turn", None, token=by_tools["token"])
    assert at.blocks() == [user]
    at.done("[[say:two]]")
    at.editor.begin("[[say:here]][[hang-politely]]")
    at.until_said("here")
    assert at.call("begin_turn", door="mcp", turn_id="tools-2")["nudges"] == [], "the prompt holds it"
    at.editor.cancel()
    at.until_states("committed", "committed")


def test_a_nudge_is_acknowledged_once_when_the_daemon_was_replaced_in_the_middle_of_the_turn(
    site: DaemonSite, desk: Sit, tmp_path: Path
) -> None:
    at = desk()
    at.done("[[say:found it]]", one_shot=True)
    running = at.editor.begin(f"[[blocks]][[wait:{tmp_path / 'go'}]]")
    at.until_said("found it")
    site.end(site.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert stop_reason(at.editor.answer(running)) == "end_turn"
    site.serve()
    at.until_states("committed")
    assert at.blocks() == ["[[blocks]]"]


def test_a_daemon_that_is_away_or_stands_still_changes_nothing_for_the_editor(
    site: DaemonSite, desk: Sit, start: Start, tmp_path: Path
) -> None:
    at = desk(program=COMMAND)
    at.done("[[say:found it]]")
    pid = site.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        assert at.blocks() == ["[[blocks]]"]
        assert at.blocks("still [[blocks]]") == ["still [[blocks]]"]
    finally:
        os.kill(pid, signal.SIGCONT)
    # This program waits no longer for a busy machine than for a daemon that stands still.
    told = next(blocks for _ in range(CHANGES) if len(blocks := at.blocks()) > 1)
    assert "found it" in told[1]
    alone = start(agent="parent_agent.py").open(CAPABILITIES)
    assert stop_reason(alone.prompt("[[blocks]]")) == "end_turn"
    assert alone.said() == '[{"type": "text", "text": "[[blocks]]"}]'
    alone.stdin.close()
    assert alone.end() == 0
    assert alone.process.wait(LIMIT) == 0
    assert not (tmp_path / "acp-subagents").exists(), "no daemon was started for it"
