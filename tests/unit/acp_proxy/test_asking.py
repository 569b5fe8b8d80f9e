"""How an editor is asked what a subagent asks, and what its answers come to."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from acp_runtime.acp_proxy.asking import Asked, is_asked
from acp_runtime.core.request import Choice, Field, FieldType

VIEW = {"id": "bg-1", "parent": "zed:s1 /w", "name": "amber-otter", "purpose": "to look"}
CHOICES = [{"id": "1", "name": "red\x1b[2J", "kind": "choice"}, {"id": "2", "name": "green", "kind": "choice"}]
DECLINE = {"id": "decline", "name": "Give no answer", "kind": "reject_once"}


SIZE = Field("size", FieldType.INTEGER, "How\x1b[2J many", required=True, least=1.0)
COLOUR = Field("colour", FieldType.TEXT, choices=(Choice("g", "Green"),))


def asked(kind: str, options: list[Any], *fields: Field, writing: str = "any text", forms: bool = True) -> Asked:
    request = {"id": "a1", "kind": kind, "title": "Which?\x1b[2J", "options": options, "writing": writing}
    return Asked(VIEW, request | {"fields": [json.loads(json.dumps(asdict(each))) for each in fields]}, "s", forms)


@pytest.mark.parametrize(
    ("question", "how"),
    [
        (asked("ask", []), "elicitation/create"),
        (asked("ask", CHOICES), "elicitation/create"),
        (asked("form", [DECLINE], SIZE, COLOUR), "elicitation/create"),
        (asked("form", [DECLINE], SIZE, COLOUR, forms=False), ""),
        (asked("form", [*CHOICES, DECLINE], writing=""), "session/request_permission"),
        (asked("ask", CHOICES, forms=False), "session/request_permission"),
        (asked("permission", [{**DECLINE, "kind": "allow_once"}], writing=""), "session/request_permission"),
        (asked("ask", [], forms=False), ""),
        (asked("form", [DECLINE], forms=False), ""),
    ],
)
def test_a_question_is_asked_in_the_form_in_which_it_can_be_answered(question: Asked, how: str) -> None:
    assert is_asked(question.view, question.request)
    assert question.answerable is bool(how)
    said = question.question("")[1] if how else question.telling()
    assert not how or question.question("")[0] == how
    assert "\x1b" not in str(said)
    if question.request["writing"] and not how.startswith("elicitation"):
        assert "subagents answer bg-1 --request a1 --text" in str(said), (
            "it can be answered in words, and is not asked so"
        )


@pytest.mark.parametrize(
    ("result", "given"),
    [
        ({"action": "accept", "content": {"answer": "blue"}}, {"text": "blue"}),
        ({"action": "accept", "content": {"choice": "2"}}, {"option": "2"}),
        ({"action": "accept", "content": {"choice": "2", "answer": "blue"}}, {"text": "blue"}),
        ({"action": "accept", "content": {"answer": 7}}, {}),
        ({"action": "accept", "content": {}}, {}),
        ({"action": "accept"}, {}),
        ({"action": "decline"}, {"option": "decline"}),
        ({"action": "cancel"}, {}),
        ({"action": ["accept"], "content": {"answer": "x"}}, {}),
        (None, {}),
    ],
)
def test_what_a_form_is_filled_in_with_is_the_answer_and_whoever_leaves_it_gives_none(
    result: Any, given: dict[str, str]
) -> None:
    assert asked("form", [*CHOICES, DECLINE]).answer(result) == given


def test_only_a_form_can_be_declined_for_the_subagent() -> None:
    assert asked("ask", CHOICES).answer({"action": "decline"}) == {}


def test_what_is_for_the_person_at_the_terminal_is_not_asked() -> None:
    assert not is_asked(VIEW, asked("login", CHOICES).request)


@pytest.mark.parametrize(("kind", "person"), [("permission", True), ("egress", True), ("ask", False), ("form", False)])
def test_who_is_led_by_a_subagent_asks_the_person_what_it_may_do_and_its_leader_all_else(
    kind: str, person: bool
) -> None:
    request = asked(kind, [{**DECLINE, "kind": "allow_once"}]).request
    assert is_asked(VIEW, request)
    assert is_asked(VIEW | {"parent": "subagent:bg-0"}, request) is person


def test_a_form_offers_the_choices_beside_the_words_but_not_the_one_to_give_no_answer() -> None:
    schema = asked("form", [*CHOICES, DECLINE]).question("")[1]["requestedSchema"]
    offered = [(each["const"], each["title"]) for each in schema["properties"]["choice"]["oneOf"]]
    assert offered == [("1", "red"), ("2", "green")]
    assert "required" not in schema


def test_a_form_of_several_fields_is_asked_as_it_is_and_what_fills_it_in_is_handed_on_as_the_object() -> None:
    question = asked("form", [DECLINE], SIZE, COLOUR)
    assert question.question("")[1]["requestedSchema"] == {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "title": "size", "description": "How many", "minimum": 1},
            "colour": {"type": "string", "title": "colour", "oneOf": [{"const": "g", "title": "Green"}]},
        },
        "required": ["size"],
    }
    filled = {"size": 3, "colour": "g"}
    assert json.loads(question.answer({"action": "accept", "content": filled})["text"]) == filled
    assert question.answer({"action": "accept"}) == {"text": "{}"}
    assert question.answer({"action": "decline"}) == {"option": "decline"}
    assert question.answer({"action": "cancel"}) == {}


@pytest.mark.parametrize(
    "hostile", [replace(SIZE, name="si\x1b[2Jze"), replace(COLOUR, choices=(Choice("\u202eg", "Green"),))]
)
def test_a_form_whose_names_or_values_would_control_a_terminal_is_asked_for_in_words(hostile: Field) -> None:
    question = asked("form", [DECLINE], hostile, writing="a JSON object")
    assert list(question.question("")[1]["requestedSchema"]["properties"]) == ["answer"]
    assert question.answer({"action": "accept", "content": {"answer": "{}"}}) == {"text": "{}"}
