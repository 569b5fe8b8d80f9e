"""An agent asks for a form: its parent is told once, and answers by an option or in words; rules may answer for it."""

import json

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.core.request import Questions, RequestKind
from acp_runtime.core.status import Status
from acp_runtime.views import RequestView, SubagentView
from tests.agents.forms import FORM, form
from tests.integration.manager.conftest import PARENT
from tests.integration.service.conftest import Bench, refused

DATABASE = {"type": "string", "oneOf": [{"const": "pg", "title": "Postgres"}, {"const": "lite", "title": "SQLite"}]}
CUSTOM = {"type": "string", "title": "Other"}


def elicit(**fields: object) -> str:
    return form("Which database?", {"properties": fields})


async def asked(bench: Bench, task: str) -> tuple[str, RequestView]:
    told = await bench.spawn(task)
    view = await bench.until(told["id"], lambda each: bool(each.requests))
    return told["id"], view.requests[0]


async def answered(bench: Bench, subagent: str) -> object:
    done = await bench.done(subagent)
    return json.loads(done["result"]["text"].removeprefix(FORM))


@pytest.mark.requirement("D10.50")
async def test_a_form_is_told_once_with_its_options_and_answered_by_one_of_them(bench: Bench) -> None:
    subagent, request = await asked(bench, elicit(database=DATABASE, other=CUSTOM))
    assert (request.kind, request.title, request.writing) == (RequestKind.FORM, "Which database?", "any text")
    assert (await bench.runtime.status(PARENT, subagent)).status is Status.WAITING
    async with bench.runtime.turn(PARENT) as turn:
        assert len(turn.nudges) == 1
        options = "1 = Postgres; 2 = SQLite; decline (reject_once) = Give no answer; or as text any text"
        assert f'request 1-1 needs an answer: "Which database?". Options: "{options}"' in turn.text
    async with bench.runtime.turn(PARENT) as turn:
        assert turn.nudges == ()
    shown = (await bench.call("get_background_subagent_status", id=subagent))["requests"][0]
    assert (shown["kind"], shown["text"], shown["options"][1]["option_id"]) == ("form", "any text", "2")
    told = await bench.call("answer_background_subagent", id=subagent, request_id="1-1", option_id="2")
    assert told["success"], told
    assert await answered(bench, subagent) == {"action": "accept", "content": {"database": "lite"}}


@pytest.mark.requirement("D10.50")
async def test_a_form_is_answered_in_words_and_words_that_do_not_fit_are_refused_and_nothing_is_lost(
    bench: Bench,
) -> None:
    subagent, request = await asked(bench, elicit(count={"type": "integer", "minimum": 1}))
    given = {"id": subagent, "request_id": request.id}
    sentence = refused(await bench.call("answer_background_subagent", **given, text="many"), "answer_invalid")
    assert sentence == "count takes a whole number (1), not 'many'"
    refused(await bench.call("answer_background_subagent", **given, text="x" * 16_385), "answer_invalid")
    refused(await bench.call("answer_background_subagent", **given, option_id="decline", text="3"), "answer_invalid")
    assert "or as text" not in refused(await bench.call("answer_background_subagent", **given), "option_unknown")
    view = await bench.runtime.answer(OPERATOR, subagent, request.id, text="3")
    assert view.requests == ()
    assert await answered(bench, subagent) == {"action": "accept", "content": {"count": 3}}
    rows = (await bench.runtime.poll(PARENT, subagent, since=0)).rows
    (closed,) = [row for row in rows if row.kind == "request_closed"]
    assert (closed.data["answer"], closed.data["text"], closed.data["by"]) == ("text", "3", "operator")


async def test_a_question_for_permission_takes_no_words(bench: Bench) -> None:
    request = bench.ground.request("[[ask:choice,reject_once]]", permissions=Permissions.ASK)
    view = await bench.runtime.spawn(PARENT, request)
    view = await bench.until(view.id, lambda each: bool(each.requests))
    with pytest.raises(Rejected, match="it takes no text"):
        await bench.runtime.answer(PARENT, view.id, "1-1", text="yes")
    async with bench.runtime.turn(PARENT) as turn:
        assert "opt-0 (unknown kind) = choice" in turn.text, "an agent's own word for what an option does"
    told = await bench.call("answer_background_subagent", id=view.id, request_id="1-1", option_id="opt-0")
    assert "only the operator" in refused(told, "needs_operator")


@pytest.mark.requirement("D10.51")
async def test_where_questions_are_refused_none_is_offered_and_one_is_declined_and_nobody_is_told(
    bench: Bench,
) -> None:
    task = f"[[init]]{elicit(database=DATABASE)}"
    view = await bench.runtime.spawn(PARENT, bench.ground.request(task, questions=Questions.REFUSE))
    view = await bench.until(view.id, lambda each: each.settled)
    assert '"elicitation"' not in view.newest.result
    assert view.newest.result.endswith('-> {"action": "decline"}')
    async with bench.runtime.turn(PARENT) as turn:
        assert len(turn.nudges) == 1
        assert "completed" in turn.text
    view = await bench.runtime.spawn(PARENT, bench.ground.request("[[init]]"))
    view = await bench.until(view.id, lambda each: each.settled)
    assert '"elicitation": {"form": {}}' in view.newest.result


async def test_an_address_is_refused_and_the_agent_goes_on(bench: Bench) -> None:
    params = {
        "sessionId": "$SESSION",
        "mode": "url",
        "elicitationId": "e",
        "url": "https://example.org",
        "message": "x",
    }
    line = json.dumps({"jsonrpc": "2.0", "id": "u", "method": "elicitation/create", "params": params})
    told = await bench.spawn(f"[[raw:{line}]][[say:on]]")
    assert (await bench.done(told["id"]))["result"]["text"] == "on"
    assert not [row for row in (await bench.runtime.poll(PARENT, told["id"], since=0)).rows if "request" in row.kind]


@pytest.mark.requirement("D10.50")
async def test_a_cancelled_task_calls_its_form_off(bench: Bench) -> None:
    subagent, _ = await asked(bench, elicit(note=CUSTOM))

    def called_off(view: SubagentView) -> bool:
        return view.settled and view.newest.result == FORM + '{"action": "cancel"}'

    await bench.runtime.cancel(PARENT, subagent)
    assert (await bench.until(subagent, called_off)).requests == ()
