"""Subagents in front of a person: as sessions below the parent's or as tool calls, with what they ask."""

import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.acp_proxy import children as childrens
from acp_runtime.acp_proxy import daemon as daemons
from acp_runtime.acp_proxy.children import MAX_TRIES, Children
from acp_runtime.acp_proxy.courier import Courier
from acp_runtime.acp_proxy.daemon import Daemon
from acp_runtime.acp_proxy.ledger import Ledger
from acp_runtime.acp_proxy.own import OwnRequests
from tests.agents.forms import form
from tests.agents.raw_client import stop_reason
from tests.e2e.daemon_site import BOUND, DaemonSite
from tests.integration.acp_proxy.conftest import Sit
from tests.integration.acp_proxy.desk import Desk

pytestmark = pytest.mark.requirement("D10.23")

ASKING = {"permissions": "ask"}
NUMBER = {"type": "integer", "title": "Number"}
COLOUR = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}]}
HOW_MANY = form("How many?", {"type": "object", "properties": {"n": NUMBER, "colour": COLOUR}, "required": ["n"]})


def update_of(at: Desk, session: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Return the first update of a session from now on that is of this kind and has these fields."""

    def wanted(message: dict[str, Any]) -> bool:
        if message.get("method") != "session/update" or message["params"]["sessionId"] != session:
            return False
        update = message["params"]["update"]
        return update["sessionUpdate"] == kind and all(update.get(name) == value for name, value in fields.items())

    return at.editor.until(wanted)["params"]["update"]


def test_a_subagent_is_a_tool_call_of_its_parents_where_the_editor_knows_no_other_form(
    desk: Sit, tmp_path: Path
) -> None:
    at = desk()
    running = at.editor.begin("[[say:here]][[hang-politely]]")
    subagent = at.spawn(f"[[wait:{tmp_path / 'go'}]][[say:found it]]")
    begun = update_of(at, at.editor.session, "tool_call", status="in_progress")
    assert begun["toolCallId"].startswith(subagent)
    assert begun["title"].endswith(": to look")
    (tmp_path / "go").touch()
    ended = update_of(at, at.editor.session, "tool_call_update", status="completed")
    assert ended["toolCallId"] == begun["toolCallId"]
    assert ended["content"][0]["content"]["text"] == "found it"
    at.editor.cancel()
    assert stop_reason(at.editor.answer(running)) == "cancelled"


def test_a_subagent_is_a_session_below_its_parents_where_the_editor_knows_these(desk: Sit, tmp_path: Path) -> None:
    at = desk(subagents={})
    at.editor.begin("[[say:here]][[hang-politely]]")
    subagent = at.spawn(f"[[say:found it]][[failtool:look]][[wait:{tmp_path / 'go'}]]")
    announced = update_of(at, at.editor.session, "subagent_update", sessionId=subagent)
    assert (announced["description"], announced["capabilities"]) == ("to look", {"cancel": {}})
    assert announced["state"] == {"state": "running"}
    said = update_of(at, subagent, "agent_message_chunk")
    assert said["content"] == {"type": "text", "text": "found it"}
    assert update_of(at, subagent, "tool_call")["title"] == "look"
    at.editor.message(method="session/cancel", params={"sessionId": subagent})
    idle = update_of(at, at.editor.session, "subagent_update", state={"state": "idle", "stopReason": "cancelled"})
    assert idle["sessionId"] == subagent
    order = [
        message["params"]["sessionId"] == subagent or message["params"]["update"].get("sessionId") == subagent
        for message in at.editor.messages
        if message.get("method") == "session/update"
    ]
    first = at.editor.updates()[order.index(True)]
    assert first["sessionUpdate"] == "subagent_update", "it is announced before it speaks"


def test_what_a_subagent_asks_is_asked_under_it_and_answered_in_the_editor(desk: Sit) -> None:
    at = desk(subagents={})
    at.editor.begin("[[say:here]][[hang-politely]]")
    subagent = at.spawn("[[ask:allow_once,reject_once]]", **ASKING)
    asked = at.editor.until(lambda message: message.get("method") == "session/request_permission")
    assert asked["params"]["sessionId"] == subagent
    assert [each["kind"] for each in asked["params"]["options"]] == ["allow_once", "reject_once"]
    chosen = {"outcome": {"outcome": "selected", "optionId": asked["params"]["options"][0]["optionId"]}}
    at.editor.message(id=asked["id"], result=chosen)
    assert update_of(at, subagent, "agent_message_chunk")["content"]["text"] == "chose opt-0"


def test_a_question_that_is_answered_elsewhere_is_taken_away(desk: Sit) -> None:
    at = desk()
    at.editor.begin("[[say:here]][[hang-politely]]")
    subagent = at.spawn("[[ask:allow_once,reject_once]]", **ASKING)
    asked = at.editor.until(lambda message: message.get("method") == "session/request_permission")
    assert asked["params"]["sessionId"] == at.editor.session
    (request,) = at.call("status", subagent=subagent)["requests"]
    at.call("answer", subagent=subagent, request=request["id"], option=request["options"][1]["id"])
    taken = at.editor.until(lambda message: message.get("method") == "$/cancel_request")
    assert taken["params"]["requestId"] == asked["id"]
    at.editor.message(id=asked["id"], error={"code": -32800, "message": "cancelled"})
    at.editor.cancel()
    waited = at.call("wait", subagents=[subagent], seconds=BOUND)
    assert waited["views"][0]["tasks"][0]["result"] == "chose opt-1"


def test_a_form_is_asked_as_it_is_and_an_answer_that_does_not_fit_is_asked_for_again(desk: Sit) -> None:
    at = desk(subagents={}, elicitation={"form": {}})
    at.editor.begin("[[say:here]][[hang-politely]]")
    subagent = at.spawn(HOW_MANY)
    asked = at.editor.until(lambda message: message.get("method") == "elicitation/create")
    assert (asked["params"]["mode"], asked["params"]["sessionId"]) == ("form", subagent)
    assert asked["params"]["message"].endswith(": to look: How many?")
    schema = asked["params"]["requestedSchema"]
    assert (schema["required"], schema["properties"]["colour"]["oneOf"]) == (["n"], COLOUR["oneOf"])
    at.editor.message(id=asked["id"], result={"action": "accept", "content": {"n": "some", "colour": "r"}})
    again = at.editor.until(lambda message: message.get("method") == "elicitation/create")
    assert again["params"]["message"].endswith("How many?\n\nn takes a whole number, not 'some'")
    at.editor.message(id=again["id"], result={"action": "accept", "content": {"n": 7, "colour": "r"}})
    said = update_of(at, subagent, "agent_message_chunk")["content"]["text"]
    assert said == 'elicitation/create -> {"action": "accept", "content": {"n": 7, "colour": "r"}}'


def test_an_editor_without_forms_is_told_how_a_question_is_answered_in_words(desk: Sit) -> None:
    at = desk()
    at.editor.begin("[[say:here]][[hang-politely]]")
    subagent = at.spawn(HOW_MANY)
    told = update_of(at, at.editor.session, "tool_call", status="pending")
    (request,) = at.call("status", subagent=subagent)["requests"]
    command = f"subagents answer {subagent} --request {request['id']} --text '...'"
    assert told["title"].endswith(": How many?")
    assert told["content"][0]["content"]["text"].endswith(command)
    assert not [each for each in at.editor.messages if "id" in each and "method" in each], "nothing takes words there"
    at.call("answer", subagent=subagent, request=request["id"], text='{"n": 7}')
    update_of(at, at.editor.session, "tool_call_update", toolCallId=told["toolCallId"], status="completed")


def test_a_session_that_is_loaded_shows_its_open_subagents_again_and_lists_no_session_of_theirs(
    desk: Sit, tmp_path: Path
) -> None:
    history = f"--history={tmp_path / 'history'}"
    at = desk(history)
    subagent = at.done("[[say:found it]]")
    at.blocks()
    again = desk(history, session=at.editor.session, subagents={})
    if not any(each["sessionUpdate"] == "subagent_update" for each in again.editor.updates()):
        update_of(again, at.editor.session, "subagent_update", sessionId=subagent)
    (tmp_path / "others").write_text(f"{at.call('status', subagent=subagent)['session_id']} theirs")
    listed = again.editor.call("session/list", {"cwd": str(tmp_path)})["result"]
    assert listed == {"sessions": [{"sessionId": each, "n": 1.0} for each in (at.editor.session, "theirs")], "x": None}


def family_of(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch, name: str
) -> tuple[Children, Courier, "asyncio.Queue[bytes]"]:
    """Return what shows the subagents of a parent to an editor, and what that hears of it."""
    for variable, value in site.env.items():
        monkeypatch.setenv(variable, value)
    daemon, told = Daemon(), asyncio.Queue[bytes]()
    agent, editor = OwnRequests(told.put_nowait), OwnRequests(told.put_nowait)
    courier = Courier(
        "s", daemon, Ledger(daemon, name, name), agent, steering=False, wake=False, announce=lambda _: None
    )
    return Children(daemon, editor), courier, told


def ordered(site: DaemonSite, task: str, **more: Any) -> dict[str, Any]:
    return {"agent": "scripted", "workspace": str(site.workspace), "task": task, "purpose": "to look", **more}


def logged(monkeypatch: pytest.MonkeyPatch) -> "asyncio.Queue[str]":
    """Return what is logged of the daemon."""
    said = asyncio.Queue[str]()
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: said.put_nowait(record.getMessage()))
    monkeypatch.setattr(daemons.log, "handlers", [handler])
    return said


async def until(told: "asyncio.Queue[bytes]", method: str) -> dict[str, Any]:
    while (message := await heard(told)).get("method") != method:
        pass
    return message


async def heard(told: "asyncio.Queue[bytes]") -> dict[str, Any]:
    async with asyncio.timeout(BOUND):
        return dict(json.loads(await told.get()))


async def test_whom_a_turn_spawned_that_was_over_before_anybody_looked_is_shown_all_the_same(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, courier, told = family_of(site, monkeypatch, "brief")
    children.add("s", "brief", courier, fresh=True)
    request = ordered(site, "[[wait:never]]")
    try:
        for _ in range(2):
            # No other task of this loop runs in these lines.
            courier.turn_begins()
            subagent = site.client.call("spawn", "brief", request=request)["id"]
            courier.turn_ends(None, seen=True)
            for status in ("in_progress", "failed"):
                update = (await heard(told))["params"]["update"]
                assert (update["toolCallId"], update["status"]) == (f"{subagent}.t1", status)
                site.client.call("stop", "brief", subagent=subagent)
    finally:
        await children.close()


async def test_a_session_that_is_closed_while_it_is_looked_at_asks_nothing_any_more(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, courier, told = family_of(site, monkeypatch, "asks")
    order = ordered(site, "[[ask:allow_once,reject_once]]", **ASKING)
    subagent = site.client.call("spawn", "asks", request=order)["id"]
    assert site.client.call("wait", "asks", subagents=[subagent], seconds=BOUND)["reason"] == "question"
    try:
        children.add("closed", "asks", courier, fresh=False)
        children.drop("closed")
        children.add("open", "asks", courier, fresh=False)
        while (message := await heard(told)).get("method") != "session/request_permission":
            assert message["params"]["sessionId"] == "open"
        assert message["params"]["sessionId"] == "open"
    finally:
        await children.close()
        site.client.call("stop", "asks", subagent=subagent)


async def test_an_answer_that_the_daemon_did_not_get_is_handed_on_when_there_is_one_again(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, courier, told = family_of(site, monkeypatch, "answers")
    log = logged(monkeypatch)
    order = ordered(site, "[[ask:allow_once,reject_once]]", **ASKING)
    subagent = site.client.call("spawn", "answers", request=order)["id"]
    assert site.client.call("wait", "answers", subagents=[subagent], seconds=BOUND)["reason"] == "question"
    away = site.socket.with_name("away")
    try:
        children.add("s", "answers", courier, fresh=False)
        asked = await until(told, "session/request_permission")
        site.socket.rename(away)
        try:
            chosen = {"outcome": {"outcome": "selected", "optionId": asked["params"]["options"][1]["optionId"]}}
            children._editor.taken({"id": asked["id"], "result": chosen})
            async with asyncio.timeout(BOUND):
                assert "no daemon can be reached" in await log.get()
        finally:
            away.rename(site.socket)
        heard_since = []
        while not heard_since or heard_since[-1]["params"].get("update", {}).get("status") != "completed":
            heard_since.append(await heard(told))
        assert heard_since[-1]["params"]["update"]["content"][0]["content"]["text"] == "chose opt-1"
        assert "session/request_permission" not in [each["method"] for each in heard_since]
    finally:
        await children.close()
        site.client.call("stop", "answers", subagent=subagent)


async def test_who_answers_again_and_again_what_does_not_fit_is_asked_no_more(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, courier, told = family_of(site, monkeypatch, "misfits")
    children.forms = True
    subagent = site.client.call("spawn", "misfits", request=ordered(site, HOW_MANY))["id"]
    assert site.client.call("wait", "misfits", subagents=[subagent], seconds=BOUND)["reason"] == "question"
    try:
        children.add("s", "misfits", courier, fresh=False)
        for _ in range(MAX_TRIES):
            asked = await until(told, "elicitation/create")
            children._editor.taken({"id": asked["id"], "result": {"action": "accept", "content": {"n": "some"}}})
        async with asyncio.timeout(BOUND):
            await asyncio.wait(children._families["s"].asked.values())
        assert site.client.call("status", "misfits", subagent=subagent)["requests"], "others may answer it"
    finally:
        await children.close()
        site.client.call("stop", "misfits", subagent=subagent)


async def test_what_a_slow_daemon_did_not_tell_is_looked_for_again_though_nothing_changes(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, courier, _ = family_of(site, monkeypatch, "slow")
    log = logged(monkeypatch)
    monkeypatch.setattr(childrens, "AGAIN_SECONDS", 0.01)
    order = ordered(site, "[[ask:allow_once,reject_once]]", **ASKING)
    subagent = site.client.call("spawn", "slow", request=order)["id"]
    assert site.client.call("wait", "slow", subagents=[subagent], seconds=BOUND)["reason"] == "question"
    pid = site.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        try:
            with monkeypatch.context() as patch:
                patch.setattr(childrens, "CALL_SECONDS", 0.01)
                children.add("s", "slow", courier, fresh=True)
                family = children._families["s"]
                looking = asyncio.create_task(children._look(family))
                async with asyncio.timeout(BOUND):
                    assert "silent for too long" in await log.get()
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(BOUND):
            await looking
        assert family.asked
    finally:
        await children.close()
        site.client.call("stop", "slow", subagent=subagent)


def test_what_one_asks_that_a_subagent_leads_is_asked_under_it_and_it_is_shown_below_its_leader(desk: Sit) -> None:
    at = desk(subagents={})
    at.editor.begin("[[say:here]][[hang-politely]]")
    given = {"purpose": "the leaf", "initial_task": "[[ask:allow_once,reject_once]]", "cwd": "/workspace"}
    # The leaf's own directive must not end its leader's.
    escaped = json.dumps(given).replace("[[", "\\u005b\\u005b").replace("]]", "\\u005d\\u005d")
    task = f"[[tool:spawn_background_subagent|{escaped}]]"
    leader = at.spawn(task, agent="tooled", role="orchestrator", **ASKING)
    asked = at.editor.until(lambda message: message.get("method") == "session/request_permission")
    leaf = asked["params"]["sessionId"]
    assert leaf != leader
    above = [
        message["params"]["sessionId"]
        for message in at.editor.messages
        if message.get("method") == "session/update" and message["params"]["update"].get("sessionId") == leaf
    ]
    assert set(above) == {leader}
    chosen = {"outcome": {"outcome": "selected", "optionId": asked["params"]["options"][0]["optionId"]}}
    at.editor.message(id=asked["id"], result=chosen)
    assert update_of(at, leaf, "agent_message_chunk")["content"]["text"] == "chose opt-0"
    at.call("stop", subagent=leader)


async def test_one_that_is_deleted_before_its_end_was_shown_leaves_the_others_as_they_are(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    children, courier, told = family_of(site, monkeypatch, "loses")
    courier.turn_begins()
    children.add("s", "loses", courier, fresh=True)
    goes, stays = (
        site.client.call("spawn", "loses", request=ordered(site, f"[[wait:{tmp_path / each}]]"))["id"]
        for each in ("never", "go")
    )
    try:
        shown = {(await heard(told))["params"]["update"]["toolCallId"] for _ in range(2)}
        assert shown == {f"{goes}.t1", f"{stays}.t1"}
        # No other task of this loop runs in these lines.
        site.client.call("stop", "loses", subagent=goes, finished=True)
        site.client.call("remove", "loses", subagent=goes)
        (tmp_path / "go").touch()
        update = (await heard(told))["params"]["update"]
        assert (update["toolCallId"], update["sessionUpdate"]) == (f"{stays}.t1", "tool_call_update")
    finally:
        await children.close()
        site.client.call("stop", "loses", subagent=stays)
