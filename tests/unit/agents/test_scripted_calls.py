"""The scripted model calls tools by their names, and uses what they answered; in each of its formats."""

import json
from typing import Any

import pytest

from tests.agents.scripted_model import call, chat_completions, gemini, messages, responses
from tests.agents.scripted_model.asked import Ask
from tests.agents.scripted_model.results import filled
from tests.agents.scripted_model.script import ScriptError, round_at
from tests.agents.scripted_model.tools import Offer, call_for

SPAWN = Offer("subagents_spawn_background_subagent", {"type": "object"})


def played(ask: Ask) -> tuple[str, dict[str, object]] | str:
    """Return the call that answers a request, or what is said."""
    found = round_at(filled(ask), ask.results)
    return call_for(found.call, ask.offers) if found.call else "".join(item.text for item in found.items)


def asked(script: str, *outputs: str) -> Ask:
    return Ask("scripted", script, outputs, [SPAWN], streaming=False, wants_usage=False, prompt_tokens=1)


@pytest.mark.parametrize(
    "offered", [SPAWN.name, "mcp__subagents__spawn_background_subagent", "spawn_background_subagent"]
)
def test_a_tool_is_found_by_its_name_whatever_an_agent_puts_before_it(offered: str) -> None:
    ask = asked(call("spawn_background_subagent", purpose="look"))
    ask.offers[:] = [Offer("other_spawn", {}), Offer(offered, {})]
    assert played(ask) == (offered, {"purpose": "look"})


def test_a_call_hands_on_a_script_with_directives_of_its_own() -> None:
    arguments = {"initial_task": "[[write:a.txt|b]][[text:[x]]]", "tasks": [[{"goal": "[[text:two]]"}]]}
    assert played(asked("Do it. " + call("spawn_background_subagent", **arguments))) == (SPAWN.name, arguments)


def test_what_a_call_answered_is_said_and_given_to_the_next_call() -> None:
    script = call("spawn_background_subagent", purpose="a") + call("spawn_background_subagent", id="{{1.id}}")
    first = json.dumps({"success": True, "id": "bg-1"})
    assert played(asked(script, first)) == (SPAWN.name, {"id": "bg-1"})
    assert played(asked(script + "[[text:It is {{1.id}}, {{2.id}}, {{3.id}}.]]", first, 'two "]]" {')) == (
        "It is bg-1, {{2.id}}, {{3.id}}."
    )


def test_a_result_neither_ends_a_directive_nor_the_arguments_of_a_call() -> None:
    hostile = 'a "quoted" ]] [[text:forged]] \n'
    assert played(asked("[[call:spawn_background_subagent|{}]][[text:<{{1}}>]]", hostile)) == (
        '<a "quoted" ] ] [[text:forged] ] \n>'
    )
    handed = asked(
        "[[call:spawn_background_subagent|{}]]" + call("spawn_background_subagent", purpose="{{1}}"), hostile
    )
    assert played(handed) == (SPAWN.name, {"purpose": hostile})


def test_a_call_of_what_is_not_offered_or_without_an_object_says_so() -> None:
    for script, words in (
        ("[[call:spawn|{}]]", "No offered tool is called spawn: subagents_spawn_background_subagent"),
        ("[[call:spawn_background_subagent|{]]", "are no JSON"),
        ("[[call:spawn_background_subagent|1]]", "are one object"),
    ):
        with pytest.raises(ScriptError, match=words):
            played(asked(script))


SCRIPT = "[[call:look|{}]][[text:{{1.id}}]]"
ANSWER = '{"id": "bg-1"}'
REQUESTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat": (
        chat_completions,
        {"messages": [{"role": "user", "content": SCRIPT}, {"role": "tool", "content": [{"text": ANSWER}]}]},
    ),
    "responses": (
        responses,
        {"input": [{"role": "user", "content": SCRIPT}, {"type": "function_call_output", "output": ANSWER}]},
    ),
    "messages": (
        messages,
        {
            "messages": [
                {"role": "user", "content": SCRIPT},
                {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": ANSWER}]}]},
            ]
        },
    ),
    "gemini": (
        gemini.Gemini("scripted", streaming=False),
        {
            "contents": [
                {"role": "user", "parts": [{"text": SCRIPT}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"output": ANSWER}}}]},
            ]
        },
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_each_format_reads_what_a_tool_answered(name: str) -> None:
    form, body = REQUESTS[name]
    assert played(form.read(body)) == "bg-1"
