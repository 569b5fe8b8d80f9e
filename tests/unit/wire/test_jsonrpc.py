"""Our side of a conversation with a peer that may send anything."""

import json

import pytest

from acp_runtime.wire.jsonrpc import (
    MAX_EPOCH,
    MAX_PENDING,
    Noise,
    Notification,
    Peer,
    Request,
    Response,
    RpcError,
    Skipped,
    TooManyRequestsError,
)
from acp_runtime.wire.ndjson import LineSplitter, Oversized

BASE = 3 * 2**24


@pytest.fixture
def peer():
    return Peer(3)


def encoded(**members):
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def asked(peer, method="session/prompt"):
    return peer.request(method, {})[0]


def test_a_request_is_one_line_with_an_id_of_its_epoch(peer):
    first, line = peer.request("initialize", {"text": "a\nb"})
    second, _ = peer.request("session/new", None)
    assert (first, second) == (BASE + 1, BASE + 2)
    assert json.loads(line) == {"jsonrpc": "2.0", "id": first, "method": "initialize", "params": {"text": "a\nb"}}
    assert line.index(b"\n") == len(line) - 1
    assert peer.pending == 2


def test_an_answer_comes_with_the_method_it_answers(peer):
    first, second = asked(peer, "initialize"), asked(peer, "session/new")
    assert peer.receive(encoded(id=second, result={"sessionId": "s"})) == [
        Response(second, {"sessionId": "s"}, None, "session/new")
    ]
    assert peer.receive(encoded(id=first, result=None)) == [Response(first, None, None, "initialize")]
    assert peer.pending == 0


def test_an_id_given_back_as_a_string_of_digits_matches(peer):
    ident = asked(peer)
    assert peer.receive(encoded(id=str(ident), result=1)) == [Response(ident, 1, None, "session/prompt")]


def test_an_answer_without_result_and_error_has_a_null_result(peer):
    ident = asked(peer)
    assert peer.receive(encoded(id=ident)) == [Response(ident, None, None, "session/prompt")]


@pytest.mark.parametrize(
    ("error", "read"),
    [
        ({"code": -32000, "message": "no", "data": {"a": 1}}, RpcError(-32000, "no", {"a": 1})),
        ("boom", RpcError(None, "boom")),
        (["a", 1], RpcError(None, '["a",1]')),
        (False, RpcError(None, "false")),
        ({}, RpcError(None, "the peer gave no reason")),
        ("", RpcError(None, "the peer gave no reason")),
        ({"code": "E", "message": 5}, RpcError(None, "5")),
        ({"code": True, "message": None}, RpcError(None, "the peer gave no reason")),
    ],
)
def test_an_error_of_any_shape_fails_its_request(peer, error, read):
    ident = asked(peer)
    assert peer.receive(encoded(id=ident, error=error)) == [Response(ident, None, read, "session/prompt")]


def test_the_text_of_an_error_is_bounded(peer):
    (response,) = peer.receive(encoded(id=asked(peer), error="x" * 100_000))
    assert len(response.error.message) == 4096


def test_an_answer_with_result_and_error_is_an_error(peer):
    (response,) = peer.receive(encoded(id=asked(peer), result={}, error={"code": 1, "message": "m"}))
    assert response.error == RpcError(1, "m")
    assert response.result is None


def test_a_null_error_beside_a_result_is_no_error(peer):
    (response,) = peer.receive(encoded(id=asked(peer), result=7, error=None))
    assert (response.result, response.error) == (7, None)


def test_answers_nobody_waits_for_are_dropped(peer):
    ident = asked(peer)
    peer.receive(encoded(id=ident, result=1))
    assert peer.receive(encoded(id=ident, result=2)) == []
    for stranger in (0, BASE, BASE + 2, -5, "abc", 2**24 + 1):
        assert peer.receive(encoded(id=stranger, result=1)) == []


def test_a_late_answer_to_a_request_given_up_is_dropped(peer):
    ident = asked(peer)
    peer.forget(ident)
    peer.forget(ident)
    assert peer.pending == 0
    assert peer.receive(encoded(id=ident, result=1)) == []


@pytest.mark.parametrize("ident", [0, 5, -1, "abc", "7", ""])
def test_a_request_keeps_the_id_the_peer_chose(peer, ident):
    (request,) = peer.receive(encoded(id=ident, method="fs/read_text_file", params={"path": "x"}))
    assert request == Request(ident, "fs/read_text_file", {"path": "x"})
    assert json.loads(peer.respond(request.id, {"a": 1})) == {"jsonrpc": "2.0", "id": ident, "result": {"a": 1}}
    assert json.loads(peer.refuse(request.id, -32601, "no")) == {
        "jsonrpc": "2.0",
        "id": ident,
        "error": {"code": -32601, "message": "no"},
    }
    assert json.loads(peer.refuse(request.id, 1, "no", [0]))["error"]["data"] == [0]


def test_a_call_of_the_peer_with_an_id_we_wait_for_is_no_answer(peer):
    ident = asked(peer)
    assert peer.receive(encoded(id=ident, method="m", result=1)) == [Request(ident, "m", None)]
    assert peer.pending == 1


@pytest.mark.parametrize("params", [{"_meta": {"self": 1, "sessionId": "other"}}, [1], "x", None, 5])
def test_params_of_a_notification_are_handed_on_as_data(peer, params):
    assert peer.receive(encoded(method="session/update", params=params)) == [Notification("session/update", params)]


def test_a_null_id_is_no_id(peer):
    assert peer.receive(encoded(id=None, method="session/update")) == [Notification("session/update", None)]


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"true",
        b"   ",
        b"npm warn deprecated",
        b"\xff\xfe\x00",
        b"{",
        b"{}",
        b'{"method":5}',
        b'{"method":"m","id":[1]}',
        b'{"method":"m","id":{}}',
        b'{"method":"m","id":1.5}',
        b'{"method":"m","id":true}',
        b'{"method":"m","id":9223372036854775808}',
        b'{"method":"m","id":"' + b"x" * 257 + b'"}',
        b'{"id":[1],"result":1}',
        b'{"id":{},"result":1}',
        b'{"id":true,"result":1}',
        b'{"id":1.0,"result":1}',
        b'{"id":null,"error":{"code":-32700,"message":"Parse error"}}',
        b'{"id":' + b"9" * 100_000 + b',"result":1}',
        b'{"method":"m","params":' + b"[" * 64 + b"]" * 64 + b"}",
        b"[" * 100_000,
        b"[" + b",".join([b"{}"] * 1025) + b"]",
    ],
    ids=lambda line: ascii(line[:40]),
)
def test_a_line_that_is_no_message_is_noise_and_the_conversation_goes_on(peer, line):
    ident = asked(peer)
    (noise,) = peer.receive(line)
    assert isinstance(noise, Noise)
    assert noise.why
    assert len(noise.text) <= 1024
    assert peer.receive(encoded(id=ident, result=1)) == [Response(ident, 1, None, "session/prompt")]


def test_a_batch_is_unrolled_in_order(peer):
    ident = asked(peer)
    batch = [{"method": "a"}, 5, {"id": ident, "result": 1}, [], {"id": 99, "result": 1}, {"method": "b", "id": 1}]
    kinds = [type(message) for message in peer.receive(json.dumps(batch).encode())]
    assert kinds == [Notification, Noise, Response, Noise, Request]


@pytest.mark.parametrize(
    "line",
    [
        b'{"method":"m","params":{"a":"\\ud83d"}}',
        b'{"method":"m","params":{"a":"\xed\xa0\xbd"}}',
        b'{"method":"m","params":{"a":"\xff"}}',
        b'{"method":"m","params":{"\\udfff":NaN}}',
    ],
)
def test_text_that_is_not_unicode_is_handed_on_as_text_that_can_be_stored(peer, line):
    (message,) = peer.receive(line)
    assert isinstance(message, Notification)
    json.dumps(message.params, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    "value", ["[" * 70 + "]" * 70, "9" * 5000, "[" + "0," * 200_000 + "0]"], ids=["deep", "long", "many"]
)
def test_an_answer_that_cannot_be_read_fails_its_request(peer, value):
    ident = asked(peer)
    (response,) = peer.receive(f'{{"jsonrpc":"2.0","id":{ident},"result":{value}}}'.encode())
    assert (response.id, response.result, response.error.code) == (ident, None, None)
    assert response.error.message.startswith("the response could not be read: ")
    assert peer.pending == 0


@pytest.mark.parametrize("last", [False, True])
def test_an_answer_over_the_cap_fails_its_request_and_says_how_long_it_was(peer, last):
    ident = asked(peer)
    answer = {"id": ident, "result": {"id": 1, "text": "x" * 5000}}
    line = encoded(**dict(reversed(answer.items()) if last else answer))
    (oversized,) = LineSplitter(cap=4096).feed(line + b"\n")
    error = RpcError(None, f"the response could not be read: it was {len(line)} bytes long, over the cap")
    assert peer.receive(oversized) == [Response(ident, None, error, "session/prompt")]
    assert peer.pending == 0


@pytest.mark.parametrize(
    ("prefix", "request_id"),
    [
        (b'{"method":"session/update","params":{"id":%d,"x":"', None),
        (b'{"result":{"id":%d,"x":"', None),
        (b'{"id":%d,"method":"fs/write_text_file","params":{"x":"', BASE + 1),
        (b'{"id":%d,"params":{"x":"', BASE + 1),
        (b'{"id":12,"result":{"id":%d,"x":"', None),
        (b'{"id":"seven","method":"session/request_permission","params":{"id":%d', "seven"),
        (b'{"method":"m","id":[%d],"params":"', None),
        (b'{"id":%d', None),
        (b"%d", None),
    ],
)
def test_a_line_over_the_cap_that_is_no_answer_is_told_and_fails_nothing(peer, prefix, request_id):
    ident = asked(peer)
    (skipped,) = peer.receive(Oversized(prefix % ident, 10**8))
    assert isinstance(skipped, Skipped)
    assert (skipped.length, skipped.request) == (10**8, request_id)
    assert peer.pending == 1


def test_what_cannot_be_written_is_a_type_error_and_nothing_is_pending(peer):
    for write in (
        lambda: peer.request("m", object()),
        lambda: peer.notify("m", {1, 2}),
        lambda: peer.respond(1, b"x"),
        lambda: peer.refuse(1, 1, "m", float("nan")),
    ):
        with pytest.raises(TypeError):
            write()
    assert peer.pending == 0
    assert asked(peer) == BASE + 1


def test_the_table_of_pending_requests_is_bounded(peer):
    idents = [asked(peer) for _ in range(MAX_PENDING)]
    with pytest.raises(TooManyRequestsError, match="1024 requests wait"):
        asked(peer)
    peer.forget(idents[0])
    assert asked(peer) == idents[-1] + 1


def test_the_ids_of_an_epoch_never_reach_into_the_next(peer):
    peer._next = 4 * 2**24 - 1
    assert asked(peer) == 4 * 2**24 - 1
    with pytest.raises(TooManyRequestsError, match="ids of this epoch are used up"):
        asked(peer)


def test_every_id_is_exact_in_a_double_and_other_epochs_are_refused():
    assert (MAX_EPOCH + 1) * 2**24 <= 2**53
    assert asked(Peer(0)) == 1
    for epoch in (-1, MAX_EPOCH + 1):
        with pytest.raises(ValueError, match="the epoch is"):
            Peer(epoch)
