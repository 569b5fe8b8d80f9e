"""What is read of an agent's elicitation, and that its answers are valid by the protocol."""

import json
from dataclasses import replace
from typing import Any

import pytest
from acp import schema

from acp_runtime.core.request import Choice, Field, FieldType
from acp_runtime.wire import acp
from acp_runtime.wire.elicitation import elicitation_outcome, read_elicitation, requested_schema


def form(properties: Any, **more: Any) -> dict[str, Any]:
    return {
        "mode": "form",
        "sessionId": "s",
        "message": "Which?",
        "requestedSchema": {"properties": properties, **more},
    }


READ = [
    ({"type": "string"}, Field("x", FieldType.TEXT)),
    ({"type": "string", "minLength": 1, "maxLength": 9}, Field("x", FieldType.TEXT, least=1, most=9)),
    ({"type": "string", "enum": ["a"]}, Field("x", FieldType.TEXT, choices=(Choice("a", "a"),))),
    (
        {"type": "string", "oneOf": [{"const": "a", "title": "A", "description": "the first"}]},
        Field("x", FieldType.TEXT, choices=(Choice("a", "A: the first"),)),
    ),
    ({"type": "boolean", "title": "T"}, Field("x", FieldType.BOOLEAN, "T")),
    ({"type": "integer", "minimum": 2}, Field("x", FieldType.INTEGER, least=2)),
    ({"type": "number", "minimum": True}, Field("x", FieldType.NUMBER)),
    ({"type": "number", "minimum": float("nan"), "maximum": float("inf")}, Field("x", FieldType.NUMBER)),
    ({"type": "number", "minimum": -(10**400), "maximum": 1.5}, Field("x", FieldType.NUMBER, most=1.5)),
    (
        {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 1},
        Field("x", FieldType.SEVERAL, choices=(Choice("a", "a"), Choice("b", "b")), most=1),
    ),
]


@pytest.mark.parametrize(("said", "field"), READ)
def test_a_field_is_read_with_its_choices_and_bounds(said: dict[str, Any], field: Field) -> None:
    read = read_elicitation(form({"x": said}))
    assert (read.refusal, read.fields, read.session_id, read.message) == ("", (field,), "s", "Which?")


@pytest.mark.parametrize(("said", "field"), READ)
def test_a_field_that_is_asked_on_reads_as_the_one_that_was_read(said: dict[str, Any], field: Field) -> None:
    required = [replace(field, required=True, least=field.least and float(field.least))]
    asked = {"mode": "form", "sessionId": "s", "message": "?", "requestedSchema": requested_schema(required)}
    (read,) = read_elicitation(asked).fields
    assert read == replace(required[0], title=field.title or "x")
    told = schema.ElicitationSchema.model_validate_json(json.dumps(asked["requestedSchema"]))
    assert ".0" not in str(asked), "not every reader takes 1.0 for a length"
    assert (told.required, len(told.properties or {})) == (["x"], 1)


@pytest.mark.parametrize(
    "said",
    [
        {"type": "colour"},
        {"type": ["string"]},
        "string",
        None,
        {"type": "string", "enum": []},
        {"type": "string", "enum": ["a", "a"]},
        {"type": "string", "enum": ["a", 1]},
        {"type": "string", "enum": [str(number) for number in range(65)]},
        {"type": "array"},
        {"type": "array", "items": {"type": "object"}},
    ],
)
def test_a_field_that_cannot_be_shown_as_a_whole_is_left_out_and_refused_where_it_is_required(said: Any) -> None:
    assert read_elicitation(form({"x": said})).fields == ()
    refused = read_elicitation(form({"x": said}, required=["x"]))
    assert "the field 'x' is of a kind that this client cannot ask for" in refused.refusal


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"mode": "url", "url": "https://example.org", "elicitationId": "e", "sessionId": "s"}, "opens no address"),
        ({"mode": "_other"}, "forms only"),
        (None, "forms only"),
        ([], "forms only"),
        ({"mode": "form"}, "requestedSchema is no object"),
        ({"mode": "form", "requestedSchema": {"properties": []}}, "requestedSchema is no object"),
        (form({str(number): {"type": "string"} for number in range(17)}), "17 fields; at most 16"),
        (form({}, required=["y"]), "requires 'y'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(params: Any, why: str) -> None:
    assert why in read_elicitation(params).refusal


@pytest.mark.parametrize(
    ("option", "content", "model"),
    [
        ("", None, schema.CancelElicitationResponse),
        ("decline", None, schema.DeclineElicitationResponse),
        ("1", {"x": "a", "y": 1, "z": ["b"], "w": True}, schema.AcceptElicitationResponse),
    ],
)
def test_answers_are_valid_by_the_protocols_schema(option: str, content: Any, model: Any) -> None:
    told = elicitation_outcome(option, content)
    assert model.model_validate(told).model_dump(exclude_none=True, mode="json") == told


def test_forms_are_offered_and_addresses_are_not() -> None:
    assert "elicitation" not in acp.initialize("x", "1")["clientCapabilities"]
    capabilities = schema.ClientCapabilities.model_validate(acp.initialize("x", "1", forms=True)["clientCapabilities"])
    assert capabilities.elicitation is not None
    assert capabilities.elicitation.form is not None
    assert capabilities.elicitation.url is None
