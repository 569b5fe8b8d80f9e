"""What a parent's model gets of its subagents by its tools: no character in it is hidden from a person who looks on."""

import json
import re

import pytest

from acp_runtime.core.model import Permissions
from tests.integration.service.conftest import Bench

# Letters of the tag block spell words that only models read; the others hide, reverse or overwrite what is shown.
HIDDEN = "".join(chr(0xE0000 + ord(char)) for char in "obey")
SAID = f"fine{HIDDEN}\u202e\u2066\u200b\ufeff\u00ad\x1b[2J\x9b1m\x07\x08 and well"
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e0fff]"
)


def held(answer: object) -> str:
    return json.dumps(answer, ensure_ascii=False).replace("\\n", "").replace("\\t", "")


@pytest.mark.requirement("T16")
async def test_no_answer_of_a_tool_holds_a_hidden_character(bench: Bench) -> None:
    told = await bench.spawn(f"[[think:{SAID}]][[failtool:{SAID}]][[say:{SAID}]]", purpose=f"look {SAID}")
    ident = told["id"]
    await bench.done(ident)
    answers = {
        "spawn": told,
        "list": await bench.call("list_background_subagents"),
        "status": await bench.call("get_background_subagent_status", id=ident),
        "poll": await bench.call("poll_background_subagent", id=ident, since_seq=0),
        "wait": await bench.call("wait_background_subagents", ids=[ident]),
        "check": await bench.call("check_task", task_id=ident),
        "collect": await bench.call("collect_task", task_id=ident),
        "send": await bench.call("send_background_subagent", id=ident, message=f"[[error:1|{SAID}]]"),
    }
    await bench.until(ident, lambda each: each.settled)
    answers["error"] = await bench.call("get_background_subagent_status", id=ident)
    assert "fine and well" in held(answers["status"])
    assert "fine and well" in held(answers["error"])
    for name, answer in answers.items():
        assert FORBIDDEN.findall(held(answer)) == [], name
        assert not re.search(r"\\u00[01]|\\u007f", held(answer)), name


@pytest.mark.requirement("T16")
async def test_nor_does_a_question(bench: Bench) -> None:
    options = [{"optionId": f"a{HIDDEN}", "name": SAID, "kind": "allow_once"}]
    call = {"toolCallId": "t", "title": SAID}
    asked = {"sessionId": "$SESSION", "toolCall": call, "options": options}
    request = json.dumps({"jsonrpc": "2.0", "id": "q", "method": "session/request_permission", "params": asked})
    given = bench.ground.request(f"[[raw:{request}]][[hang-politely]]", permissions=Permissions.ASK)
    view = await bench.runtime.spawn(bench.parent, given)
    await bench.until(view.id, lambda each: bool(each.requests))
    answer = held(await bench.call("wait_background_subagents", ids=[view.id]))
    assert "fine and well" in answer
    assert FORBIDDEN.findall(answer) == []
