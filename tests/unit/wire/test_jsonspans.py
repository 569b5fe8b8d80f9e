"""Where parsers look is where pieces are put."""

import json

from acp_runtime.wire import jsonspans


def test_of_a_name_that_is_given_twice_the_last_one_is_meant_as_for_parsers() -> None:
    line = b'{"params":{"a":[1]},"params":{"a":[2.0],"b":null,"a":[3.0]}}'
    span = jsonspans.find(line, "params", "a")
    assert span is not None
    assert json.loads(line[slice(*span)]) == json.loads(line)["params"]["a"] == [3.0]
    assert jsonspans.with_item(line, span, 4) == line.replace(b"[3.0]", b"[3.0,4]")
