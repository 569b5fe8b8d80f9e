"""How the form of an agent is shown, and what the answers to it come to."""

from typing import Any

import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.core.form import content, how_to_write, options_of
from acp_runtime.core.request import Choice, Field, FieldType

COLOURS = (Choice("r", "Red"), Choice("g", "Green"))
PICK = Field("colour", FieldType.TEXT, choices=COLOURS)
NOTE = Field("note", FieldType.TEXT)
SURE = Field("sure", FieldType.BOOLEAN, required=True)
COUNT = Field("count", FieldType.INTEGER, least=1, most=9)
PRICE = Field("price", FieldType.NUMBER, least=0)
SOME = Field("some", FieldType.SEVERAL, choices=COLOURS, most=1)
LONG = Field("name", FieldType.TEXT, required=True, least=2, most=4)

SHOWN = [
    ((), "accept decline", ""),
    ((PICK,), "1 2 decline", ""),
    ((SURE,), "yes no decline", ""),
    ((NOTE,), "decline", "any text"),
    ((COUNT,), "decline", "a whole number"),
    ((PICK, NOTE), "1 2 decline", "any text"),
    ((SOME,), "decline", 'a JSON object {"some": a list of one of'),
    ((SOME, NOTE), "decline", 'a JSON object {"some": '),
    ((PICK, LONG), "decline", 'a JSON object {"colour": one of "r", "g", "name": a text (2 to 4 characters)}'),
    ((PICK, SURE), "decline", 'a JSON object {"colour": one of "r", "g", "sure": true or false}'),
]


@pytest.mark.parametrize(("fields", "options", "writing"), SHOWN)
def test_a_form_is_answered_by_an_option_a_text_or_an_object(
    fields: tuple[Field, ...], options: str, writing: str
) -> None:
    assert " ".join(each.id for each in options_of(fields)) == options
    assert how_to_write(fields).startswith(writing.partition("one of")[0])
    assert bool(how_to_write(fields)) == bool(writing)


FILLED = [
    ((PICK,), "2", "", {"colour": "g"}),
    ((SURE,), "no", "", {"sure": False}),
    ((), "accept", "", {}),
    ((NOTE,), "", "as you like", {"note": "as you like"}),
    ((NOTE,), "", '{"a": 1}', {"note": '{"a": 1}'}),
    ((NOTE,), "", '{"note": "x"}', {"note": "x"}),
    ((COUNT,), "", "7", {"count": 7}),
    ((PRICE,), "", "1.5", {"price": 1.5}),
    ((PICK, NOTE), "1", "", {"colour": "r"}),
    ((PICK, NOTE), "", "blue", {"note": "blue"}),
    ((PICK, NOTE), "", '{"colour": "g", "note": "dark"}', {"colour": "g", "note": "dark"}),
    ((SOME,), "", '{"some": ["r"]}', {"some": ["r"]}),
    ((PICK, SURE), "", '{"sure": "yes"}', {"sure": True}),
    ((LONG,), "", "Ann", {"name": "Ann"}),
    ((PICK, NOTE), "", "{}", {}),
]


@pytest.mark.parametrize(("fields", "option", "text", "filled"), FILLED)
def test_an_answer_fills_the_form(fields: tuple[Field, ...], option: str, text: str, filled: dict[str, Any]) -> None:
    assert content(fields, option, text) == filled


REFUSED = [
    ((PICK,), "purple", "takes one of its options"),
    ((PICK,), '{"colour": "purple"}', 'colour takes one of "r", "g", not'),
    ((COUNT,), "ten", "count takes a whole number (1 to 9), not"),
    ((COUNT,), "10", "(1 to 9), not 10"),
    ((COUNT,), "true", "not 'true'"),
    ((COUNT,), '{"count": true}', "not true"),
    ((PRICE,), "nan", "price takes a number"),
    ((PRICE,), "inf", "price takes a number"),
    ((PICK, SURE), '{"colour": "r"}', "'sure' must be filled in"),
    ((PICK, SURE), "r", "takes a JSON object"),
    ((PICK, SURE), "{}", "'sure' must be filled in"),
    ((PICK, SURE), '{"sure": true, "other": 1}', "takes a JSON object"),
    ((SOME,), '{"some": ["r", "g"]}', "a list of"),
    ((SOME,), '{"some": "r"}', "a list of"),
    ((LONG,), "Annabel", "(2 to 4 characters)"),
    ((NOTE, SURE), "[" * 100_000, "takes a JSON object"),
]


@pytest.mark.parametrize(("fields", "text", "why"), REFUSED)
def test_an_answer_that_the_form_does_not_take_is_refused_by_what_it_takes(
    fields: tuple[Field, ...], text: str, why: str
) -> None:
    with pytest.raises(Rejected) as refused:
        content(fields, "", text)
    assert refused.value.kind == "answer_invalid"
    assert why in str(refused.value)
