"""Whatever is said between an editor and its agent, it goes on as it came, but for what the proxy says it changes."""

import asyncio
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp_runtime.acp_proxy.conversation import META, Conversation
from acp_runtime.acp_proxy.identity import SERVER_NAME, HostTools
from acp_runtime.acp_proxy.replay import Replay
from acp_runtime.acp_proxy.rewriting import block_of, with_param_item
from acp_runtime.core.roster import OPEN_TAG, render
from acp_runtime.wire import jsonspans
from acp_runtime.wire.jsontext import dump
from tests.property.test_roster import blocks

pytestmark = pytest.mark.requirement("D10.21")

SPACE = st.sampled_from(["", " ", "\t ", "\r"])
# Numbers as their text: 1.0 is not 1, and nobody rounds.
NUMBERS = st.sampled_from(["0", "-0", "1.0", "1e3", "1E+3", "0.10", "123456789012345678901234567890", "-1.50e-9"])
STRINGS = st.text(max_size=6).map(json.dumps) | st.sampled_from(
    ['"\\/"', '"\\ud83d\\ude00"', '"\\u0041"', '"[{"', '"]}"', '"\\\\"', '"\\""', '"é"', '""']
)
NAMES = st.sampled_from(["_meta", "x", "id", "params", "mcpServers", "prompt", "update", "", "jsonrpc", "text"])
# What no folder can be called is among them.
FOLDERS = st.just('"/w"') | STRINGS | st.sampled_from(['"/w\\u0000"', json.dumps("/" + "w" * 300), '"/w\\ud800"'])
METHODS = st.sampled_from(
    ["initialize", "session/new", "session/load", "session/resume", "session/fork", "session/prompt", "session/update",
     "session/cancel", "session/list", "_vendor/x", "$/cancel_request", "proxy/successor", "fs/read_text_file"]
)  # fmt: skip


def array(items):
    return SPACE.map(lambda space: f"[{space}" + f"{space},{space}".join(items) + f"{space}]")


def members(values):
    pairs = st.lists(st.tuples(NAMES | st.text(max_size=3), values), max_size=4)
    return st.tuples(SPACE, pairs).map(lambda given: mapping(given[1], given[0]))


def mapping(pairs, space=""):
    inner = f"{space},{space}".join(f"{json.dumps(name)}{space}:{space}{value}" for name, value in pairs)
    return f"{space}{{{space}{inner}{space}}}".strip() if space == "\r" else f"{{{space}{inner}{space}}}"


VALUES = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["null", "true", "false"]),
    lambda inner: st.lists(inner, max_size=3).flatmap(array) | members(inner),
    max_leaves=8,
)


@st.composite
def message(draw):
    """A message of any form, in any order of members, some of them twice, valid or not."""
    pairs = [("jsonrpc", '"2.0"')]
    shape = draw(st.sampled_from(["request", "notification", "result", "error", "odd"]))
    if shape != "notification":
        pairs.append(("id", draw(st.sampled_from(["1", '"1"', "1.0", "null", "99999999999999999999", "[1]", '"x"']))))
    if shape in ("request", "notification", "odd"):
        pairs.append(("method", json.dumps(draw(METHODS))))
        pairs.append(("params", draw(members(VALUES) | VALUES)))
    if shape in ("result", "odd"):
        pairs.append(("result", draw(VALUES)))
    if shape == "error":
        pairs.append(("error", '{"code":-32603,"message":"no"}'))
    pairs += draw(st.lists(st.tuples(NAMES, VALUES), max_size=2))
    return mapping(draw(st.permutations(pairs)), draw(SPACE)).encode()


@st.composite
def opening(draw):
    """A session that is opened, with whatever beside."""
    pairs = [("cwd", draw(FOLDERS)), ("sessionId", draw(STRINGS))]
    pairs += draw(st.lists(st.tuples(NAMES.filter(lambda name: name != "mcpServers"), VALUES), max_size=3))
    servers = draw(st.none() | st.just("null") | st.lists(VALUES, max_size=2).flatmap(array))
    pairs += [("mcpServers", servers)] if servers else []
    params = mapping(draw(st.permutations(pairs)), draw(SPACE))
    method = draw(st.sampled_from(["session/new", "session/load", "session/resume", "session/fork"]))
    given = [("id", draw(NUMBERS)), ("method", json.dumps(method)), ("params", params), ("_meta", draw(VALUES))]
    return mapping(draw(st.permutations(given)), draw(SPACE)).encode()


LINES = message() | opening() | st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line)


def exact(line):
    """Return a message with nothing lost: pairs in order, numbers as their text."""
    keep = {
        "object_pairs_hook": lambda pairs: ("object", [list(pair) for pair in pairs]),
        "parse_int": str,
        "parse_float": str,
    }
    return json.loads(line, **keep)


def started(version=1):
    """Return a conversation in which the agent has answered `initialize`."""
    said = []
    conversation = Conversation(HostTools({"HOME": "/home/me"}), say_editor=said.append, say_agent=said.append)
    asked = {"protocolVersion": 1, "clientInfo": {"name": "zed", "version": "1"}}
    conversation.from_editor(dump({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": asked})[:-1])
    result = {"protocolVersion": version, "agentCapabilities": {}}
    (answer,) = conversation.from_agent(dump({"jsonrpc": "2.0", "id": "hello", "result": result})[:-1])
    assert (META in json.loads(answer)["result"].get("_meta", {})) is (version == 1)
    return conversation


@pytest.fixture(scope="module", autouse=True)
def _nobody(tmp_path_factory):
    """No daemon is asked: this user may have one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
        yield


@settings(max_examples=250)
@given(st.lists(st.tuples(st.booleans(), LINES), max_size=6), st.sampled_from([1, 2]))
def test_what_is_passed_on_is_what_came_but_for_the_servers_of_a_session(lines, version):
    asyncio.run(passes(lines, version))


async def passes(lines, version):
    conversation = started(version)
    for from_editor, line in lines:
        passed = (conversation.from_editor if from_editor else conversation.from_agent)(line)
        if passed != [line]:
            assert version == 1
            assert from_editor
            (changed,) = passed
            told = json.loads(changed)
            assert told["method"] in ("session/new", "session/load", "session/resume", "session/fork")
            server = told["params"]["mcpServers"][-1]
            assert (server["name"], server["args"][-2]) == (SERVER_NAME, "--parent")
            assert_one_more(line, changed, "mcpServers", server)
        elif version == 1 and from_editor and b'"/w"' in line:
            assert b'"subagents"' in line or json.loads(line).get("id") is None
    await conversation.close()


def assert_one_more(before, after, name, item):
    """One item of ours at the end of the list, and all else exactly as it was."""
    wanted, found = exact(before), exact(after)
    theirs, ours = (last(last(each, "params")[1], name) for each in (wanted, found))
    assert ours[1].pop() == exact(json.dumps(item))
    if theirs is None:
        assert last(found, "params")[1][1].pop() is ours
    elif not isinstance(theirs[1], list):
        ours[1] = theirs[1]
    assert wanted == found


@given(st.lists(VALUES, max_size=3).flatmap(array), members(VALUES), st.text(max_size=20))
def test_a_block_is_put_behind_all_others_of_a_prompt_and_changes_nothing_else(blocks, more, text):
    line = f'{{"id":1.0,"params":{{"x":{more},"prompt":{blocks},"_meta":{more}}},"method":"session/prompt"}}'.encode()
    assert_one_more(line, with_param_item(line, "prompt", block_of(text)), "prompt", block_of(text))


def last(pairs, name):
    return next((pair for pair in reversed(pairs[1]) if pair[0] == name), None)


PATHS = st.lists(NAMES, max_size=3)


@settings(max_examples=150)
@given(VALUES, PATHS)
def test_a_value_is_found_where_a_parser_finds_it_and_putting_it_there_again_changes_nothing(text, path):
    line = text.encode()
    value = json.loads(line)
    for name in path:
        value = value.get(name, ...) if isinstance(value, dict) else ...
    span = jsonspans.find(line, *path)
    if span is None:
        assert value is ...
    else:
        assert json.loads(line[slice(*span)]) == value
        assert jsonspans.spliced(line, [(span, line[slice(*span)])]) == line


@given(st.binary(max_size=60), PATHS)
def test_no_bytes_make_the_search_go_on_for_ever_or_raise_another_error(line, path):
    with suppress(ValueError):
        jsonspans.find(line, *path)


BLOCKS = blocks.map(render).filter(bool)
WORDS = st.text(max_size=8) | st.sampled_from(["<", OPEN_TAG, OPEN_TAG[:9], f"{OPEN_TAG}\nno block", "\n\n", "héllo"])


@settings(max_examples=150)
@given(st.lists(WORDS | BLOCKS, max_size=5), st.lists(st.integers(1, 40), max_size=30))
def test_a_block_of_ours_is_taken_out_however_it_is_cut_and_nothing_else_is(parts, sizes):
    text, chunks = "".join(parts), []
    rest = text
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    cut = shown([chunk for chunk in (*chunks, rest) if chunk])
    assert cut == shown([text])
    others = [part for part in parts if not part.startswith(f"{OPEN_TAG}\n") or part == f"{OPEN_TAG}\nno block"]
    if OPEN_TAG not in "".join(others):
        assert cut == "".join(others)


def shown(chunks):
    """Return what an editor shows of a user message that comes in these chunks."""
    replay, lines = Replay(), []
    for chunk in chunks:
        update = {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": chunk}}
        line = dump({"method": "session/update", "params": {"sessionId": "s", "update": update}})[:-1]
        lines += replay.chunk("s", line, chunk)
    lines += replay.flush()
    assert not replay.holding
    return "".join(json.loads(line)["params"]["update"]["content"]["text"] for line in lines)
