"""JSON of a peer that is not trusted."""

import json
import math

import pytest

from acp_runtime.wire.jsontext import (
    MAX_DEPTH,
    MAX_VALUES,
    Envelope,
    NotJsonError,
    OverLimitError,
    compact,
    dump,
    parse,
    peek,
)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b' {"a": [1, -2.5, true, null, "x"]}\t', {"a": [1, -2.5, True, None, "x"]}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"\\ud83d"}', {"a": "\ufffd"}),
        (b'{"\\udfff":["\\ud800x"]}', {"\ufffd": ["\ufffdx"]}),
        (b'{"a":"\\\\ud83d"}', {"a": "\\ud83d"}),
        (b'{"a":"\xff\xfe"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":NaN,"b":[Infinity,-Infinity]}', {"a": None, "b": [None, None]}),
        (b'{"a":"\\u0000"}', {"a": "\0"}),
    ],
)
def test_what_agents_send_is_parsed_into_what_can_be_stored(line, value):
    assert parse(line) == value


def test_a_number_beyond_the_range_of_a_float_is_an_infinity_and_is_stored_as_null():
    value = parse(b'{"a":1e999}')
    assert math.isinf(value["a"])
    assert compact(value) == '{"a":null}'


@pytest.mark.parametrize("line", [b"", b"{", b'{"a":}', b'{"a":1} trailing', b'{"a":"\x01"}', b"{'a':1}", b"\xff"])
def test_what_is_not_json_is_told_so(line):
    with pytest.raises(NotJsonError):
        parse(line)


def test_64_levels_are_parsed_and_65_are_too_many():
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(OverLimitError, match="deeper than 64 levels"):
            parse(opening * (MAX_DEPTH + 1) + b"1" + closing * (MAX_DEPTH + 1))


@pytest.mark.parametrize("depth", [201, 5_000, 60_000])
def test_no_depth_ends_the_reader(depth):
    with pytest.raises(OverLimitError, match="deeper than 64 levels"):
        parse(b"[" * depth + b"]" * depth)


def test_brackets_inside_strings_are_no_depth():
    text = "{[" * 1000 + '"'
    assert parse(json.dumps({"a": text}).encode()) == {"a": text}
    assert parse(json.dumps("[" * 100).encode()) == "[" * 100


def test_a_number_of_100_000_digits_is_over_the_limit():
    with pytest.raises(OverLimitError, match="more than 4300 digits"):
        parse(b'{"id":' + b"9" * 100_000 + b"}")


@pytest.mark.parametrize("item", [b"[]", b"{}", b"1", b'""', b'"\\""'])
def test_a_line_of_very_many_values_is_refused_before_it_is_parsed(item):
    with pytest.raises(OverLimitError, match="more than 131072 values"):
        parse(b"[" + b",".join([item] * (MAX_VALUES + 1)) + b"]")


def test_names_count_as_values_too():
    with pytest.raises(OverLimitError, match="more than 131072 values"):
        parse(json.dumps({f"k{n}": "" for n in range(MAX_VALUES * 2 // 3)}).encode())


def test_a_long_text_full_of_commas_quotes_and_brackets_is_few_values():
    text = 'call(a, b)["x"], {y: 1}\n' * 50_000
    assert parse(json.dumps({"text": text}).encode()) == {"text": text}


@pytest.mark.parametrize(
    ("prefix", "ident"),
    [
        (b'{"jsonrpc":"2.0","id":16777217,"result":{"text":"aaaa', 16777217),
        (b' { "id" : "7" , "result":"aa', "7"),
        (b'{"\\u0069d":5,"result":"aa', 5),
        (b'{"result":{"id":1},"id":2,"x":"', 2),
        (b'{"id":2,"result":[{"id":1}', 2),
        (b'{"result":{"id":1},"x":"', None),
        (b'{"result":[{"id":1},{"id":3', None),
        (b'{"result":"\\",\\"id\\":1,","x":"', None),
        (b'{"a":"id","b":1,"x":"', None),
        (b'{"id":1677', None),
        (b'{"id":"1677', None),
        (b'{"id":{"id":1},"x":"', None),
        (b'{"id":[1],"x":"', None),
        (b'[{"id":1,"result":"', None),
        (b'"id":1,', None),
        (b'{"id":1x,"result":"', None),
        (b'{"a":1}{"id":1,"x":"', None),
        (b'{id:1,"result":"', None),
        (b'{"\xff":1,"id":1,', None),
        (b"", None),
        (b"}", None),
        (b'{"id" 1,', None),
        (b'{"id":[] 1,', None),
        (b'{"id",1,', None),
    ],
)
def test_only_the_id_of_the_top_level_is_seen_in_a_cut_object(prefix, ident):
    assert peek(prefix).id == ident


@pytest.mark.parametrize(
    ("tail", "ident", "names"),
    [
        (b'xx"}},"id":7}', 7, {"id"}),
        (b'xx"}} , "jsonrpc" : "2.0" , "id" : "a\\"b" , "method":"m" } \r', 'a"b', {"jsonrpc", "id", "method"}),
        (b'x","id":7}}', None, set()),
        (b'x","id":7}]', None, set()),
        (b'x","id":7', None, set()),
        (b'x,\\"id\\":7"}', None, set()),
        (b'x,\\"id":"7"}', None, set()),
        (b',"id":7,"y":{"z":1}}', None, set()),
        (b',"id":{"z":1}}', None, set()),
        (b',"id":7x}', None, set()),
        (b',"i\xff":7}', None, set()),
        (b',"id":7,"id":8}', 8, {"id"}),
        (b',"id":1' + b',"x":1' * 600 + b"}", None, {"x"}),
        (b"", None, set()),
    ],
)
def test_the_scalars_with_which_an_object_ends_are_seen_in_what_is_left_of_its_end(tail, ident, names):
    assert peek(b'{"params":{"x":"', tail) == Envelope(frozenset({"params", *names}), ident)
    assert peek(b'[{"params":{"x":"', tail) == Envelope(frozenset(), None)


def test_the_names_of_the_top_level_are_seen_and_no_others():
    assert peek(b'{"id":1,"params":{"method":"x","y":[{"z":1}]},"more":"cut') == Envelope(
        frozenset({"id", "params", "more"}), 1
    )


def test_what_we_write_is_one_line_of_ascii_that_reads_back_the_same():
    value = {"a": 'line\nline\r\u2028\U0001f600\0"', "b": [1, 2.5, None, True]}
    line = dump(value)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert json.loads(line) == value
    assert json.loads(dump("\ud800")) == "\ud800"


def _circular():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", math.nan, math.inf, _circular(), {(1,): 2}, [10**5000]])
def test_what_json_cannot_express_is_a_type_error_of_the_caller(value):
    with pytest.raises(TypeError):
        dump(value)


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": math.inf}, ["é", 10**4000]])
def test_any_parsed_value_becomes_text_that_can_be_stored(value):
    assert json.loads(compact(value).encode()) is not None
