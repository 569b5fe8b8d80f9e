"""Configurations as people keep them: one entry in, one entry out, and every other byte as it was."""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.mcp import jsonc, tomltext

pytestmark = pytest.mark.requirement("D10.45")
PATH = ("mcpServers", "subagents")
ENTRY = {"command": "subagents", "args": ["mcp"]}

TEXTS = [
    "{}",
    "{\n}\n",
    '{"a": 1}',
    '{\n  "a": 1\n}\n',
    '{\n\t"a": {\n\t\t"b": []\n\t}\n}\n',
    '{\n  // one\n  "a": 1, // two\n  /* three */ "b": [1, 2,], // four\n}\n// five\n',
    '{\n  "a": "// no comment, \\" /* none */ either"\n}',
    '{\n  "mcpServers": {}\n}\n',
    '{"mcpServers":{"other":{"command":"x"}}}',
    '{\n  "mcpServers": {\n    "other": {"command": "x"} // mine\n  }\n}\n',
    '{\n  "mcpServers": {\n    "other": {"command": "x"},\n  },\n  "z": 1\n}\n',
    '{\r\n  "a": 1\r\n}\r\n',
    '\ufeff{"a": 1}',
    "{ // nothing but words\n}\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_an_entry_goes_into_a_text_with_comments_and_nothing_else_changes(text: str) -> None:
    before = jsonc.parse(text).plain
    written = jsonc.with_member(text, PATH, ENTRY)
    wanted = {**before, "mcpServers": {**before.get("mcpServers", {}), "subagents": ENTRY}}
    assert jsonc.parse(written).plain == wanted
    assert jsonc.with_member(written, PATH, ENTRY) == written
    left = iter(written)
    assert all(letter in left for letter in text), "something was lost"


@pytest.mark.parametrize("text", TEXTS)
def test_an_entry_that_goes_out_again_leaves_what_the_text_said_before(text: str) -> None:
    before = jsonc.parse(text).plain
    out = jsonc.without(jsonc.with_member(text, PATH, ENTRY), PATH)
    assert jsonc.parse(out).plain in (before, {**before, "mcpServers": {}})
    for comment in ("// one", "// two", "/* three */", "// four", "// five", "// mine", "// nothing but words"):
        assert (comment in out) == (comment in text)


def test_an_entry_that_stands_is_replaced_in_its_place() -> None:
    text = '{\n  "mcpServers": {\n    "subagents": {"command": "old"}, // ours\n    "z": {}\n  }\n}\n'
    written = jsonc.with_member(text, PATH, ENTRY)
    assert jsonc.parse(written).plain == {"mcpServers": {"subagents": ENTRY, "z": {}}}
    assert "// ours" in written
    assert jsonc.parse(jsonc.without(written, PATH)).plain == {"mcpServers": {"z": {}}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no object"),
        ('{"mcpServers": []}', "mcpServers .line 1. is no object"),
        ('{\n"a": 1\n"b": 2}', "line 3"),
        ("{", "it ends there"),
        ('{"a": 1} x', "line 1"),
        ("{'a': 1}", "line 1"),
        ('{"a": /* without an end', "line 1"),
        ("[" * 10_000, "line 1"),
        ('{"a": 01e}', "line 1"),
    ],
)
def test_what_is_no_object_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(jsonc.Unreadable, match=said):
        jsonc.with_member(text, PATH, ENTRY)


def test_a_text_that_says_nothing_becomes_one_with_the_entry() -> None:
    assert json.loads(jsonc.with_member(" \n", PATH, ENTRY)) == {"mcpServers": {"subagents": ENTRY}}


KEYS = st.text(max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(KEYS, PLAIN, max_size=4),
    st.sampled_from((None, 1, 2, "\t")),
    st.lists(KEYS, min_size=1, max_size=3),
)
def test_any_object_takes_a_member_at_any_path_and_gives_it_back(values: Any, indent: Any, path: list[str]) -> None:
    text = json.dumps(values, indent=indent)
    assert jsonc.parse(text).plain == values
    try:
        written = jsonc.with_member(text, path, ENTRY)
    except jsonc.Unreadable:
        return
    wanted = json.loads(text)
    at = wanted
    for key in path[:-1]:
        at = at.setdefault(key, {})
    at[path[-1]] = ENTRY
    assert json.loads(written) == wanted
    del at[path[-1]]
    assert json.loads(jsonc.without(written, path)) == wanted


@pytest.mark.requirement("D10.61")
@given(st.lists(PLAIN, max_size=3), st.sampled_from((None, 1, 2, "\t")), st.sampled_from(("", "//", "a")))
def test_any_list_takes_an_item_at_its_end_and_gives_any_of_its_items_back(items: Any, indent: Any, key: str) -> None:
    text = json.dumps({"z": 1, key: items}, indent=indent)
    written = jsonc.with_item(text, (key,), ENTRY)
    assert json.loads(written) == {"z": 1, key: [*items, ENTRY]}
    for number in range(len(items) + 1):
        left = [*items, ENTRY]
        del left[number]
        assert json.loads(jsonc.without(written, (key, number))) == {"z": 1, key: left}
    assert jsonc.without(written, (key, len(items) + 1)) == written


@pytest.mark.requirement("D10.61")
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{ // mine\n"subagents": 1}', ("subagents",)),
        ('{"a": [ // mine\n1], "b": 1}', ("a", 0)),
        ('{"a": [1, // mine\n2], "b": 1}', ("a", 1)),
        ('{"a": [1 // mine\n, 2], "b": 1}', ("a", 1)),
        ('{"a": 1 /* mine */,\n"b": 2}', ("b",)),
    ],
)
def test_a_comment_before_what_goes_stays_and_takes_nothing_in(text: str, path: tuple[str | int, ...]) -> None:
    out = jsonc.without(text, path)
    wanted = jsonc.parse(text).plain
    for key in path[:-1]:
        wanted = wanted[key]
    del wanted[path[-1]]
    whole = jsonc.parse(out).plain
    assert wanted in (whole, whole.get("a"))
    assert "mine" in out


@pytest.mark.requirement("D10.61")
@pytest.mark.parametrize(
    ("path", "said"),
    [(("a",), "a .line 2. is no list"), (("z", "b"), "z .line 3. is no object")],
)
def test_an_item_goes_into_a_list_alone(path: tuple[str, ...], said: str) -> None:
    with pytest.raises(jsonc.Unreadable, match=said):
        jsonc.with_item('{\n"a": {},\n"z": []}', path, ENTRY)


TABLE = ("mcp_servers", "subagents")
TOMLS = [
    "",
    'model = "x"\n',
    'model = "x"',
    '# mine\n[a]\nb = 1 # here\n\n[mcp_servers.other]\ncommand = "x"\n',
    "[[list]]\nx = 1\n[[list]]\nx = 2\n",
    'text = """\n[no.header]\n"""\n',
]


@pytest.mark.parametrize("text", TOMLS)
def test_a_table_goes_into_a_toml_file_and_out_again(text: str) -> None:
    written = tomltext.with_table(text, TABLE, ENTRY)
    assert written.startswith(text)
    assert tomllib.loads(written)["mcp_servers"]["subagents"] == ENTRY
    assert tomltext.with_table(written, TABLE, ENTRY) == written
    assert tomllib.loads(tomltext.without_table(written, TABLE)) == tomllib.loads(text)
    longer = tomltext.with_table(written + "\n[behind]\nx = 1\n", TABLE, {**ENTRY, "timeout": 60})
    assert tomllib.loads(longer)["mcp_servers"]["subagents"]["timeout"] == 60
    assert tomllib.loads(longer)["behind"] == {"x": 1}
    named = {**ENTRY, "args": ["mcp", "--parent", 'the \U0001f989\u2019s "own"']}
    assert tomllib.loads(tomltext.with_table(longer, TABLE, named))["mcp_servers"]["subagents"] == named


@pytest.mark.parametrize(
    "text",
    [
        "no toml",
        "mcp_servers = 1\n",
        'mcp_servers = {subagents = {command = "x"}}\n',
        'mcp_servers.subagents.command = "x"\n',
    ],
)
def test_a_toml_file_that_cannot_be_changed_safely_is_refused(text: str) -> None:
    with pytest.raises(jsonc.Unreadable):
        tomltext.with_table(text, TABLE, ENTRY)


def test_a_table_with_tables_below_it_goes_as_a_whole() -> None:
    text = '[mcp_servers.subagents]\ncommand = "x"\n[mcp_servers.subagents.env]\nA = "b"\n\n[other]\nx = 1\n'
    assert tomllib.loads(tomltext.without_table(text, TABLE)) == {"other": {"x": 1}}
