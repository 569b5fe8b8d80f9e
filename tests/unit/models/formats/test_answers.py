"""What answers of each kind of API tell of their tokens."""

import json

import pytest

from acp_runtime.core.metering import MAX_TOKENS, Usage
from acp_runtime.models.formats import Answer, Asked
from acp_runtime.models.formats.picking import MAX_STEPS, MAX_VALUE, Picker


def read(*pieces: bytes) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.feed(piece)
    answer.finish()
    return answer


def sse(*documents: object) -> bytes:
    return b"".join(b"event: some\ndata: %b\n\n" % json.dumps(each).encode() for each in documents)


CHAT = {
    "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20},
}  # fmt: skip
RESPONSES = {
    "input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 130,
}  # fmt: skip
MESSAGES = {
    "input_tokens": 40, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 10, "output_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 4},
}  # fmt: skip
GEMINI = {
    "promptTokenCount": 90, "toolUsePromptTokenCount": 10, "cachedContentTokenCount": 60, "candidatesTokenCount": 10,
    "thoughtsTokenCount": 20, "totalTokenCount": 130,
}  # fmt: skip
OPENAI_USAGE = Usage(input=40, cached_input=60, output=30, reasoning=20)
MESSAGES_USAGE = Usage(input=40, cached_input=50, cache_write=10, output=30, cache_write_hour=4)

PLAIN = {
    "chat completions": ({"model": "m", "choices": [{"message": {"content": "hi"}}], "usage": CHAT}, OPENAI_USAGE),
    "reasoning counted beside the output": (
        {"model": "m", "usage": {**CHAT, "completion_tokens": 10}},
        OPENAI_USAGE,
    ),
    "cache hits at the top": (
        {"model": "m", "usage": {"prompt_tokens": 10, "prompt_cache_hit_tokens": 4, "completion_tokens": 1}},
        Usage(input=6, cached_input=4, output=1),
    ),
    "responses": ({"model": "m", "output": [], "usage": RESPONSES}, OPENAI_USAGE),
    "messages": ({"model": "m", "content": [], "usage": MESSAGES}, MESSAGES_USAGE),
    "gemini": ({"candidates": [], "usageMetadata": GEMINI, "modelVersion": "m"}, OPENAI_USAGE),
    "gemini in parts": (
        [{"usageMetadata": {"promptTokenCount": 1}}, {"usageMetadata": GEMINI, "modelVersion": "m"}],
        OPENAI_USAGE,
    ),
    "gemini in an envelope": ({"response": {"usageMetadata": GEMINI, "modelVersion": "m"}}, OPENAI_USAGE),
}


@pytest.mark.requirement("D09.7")
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_answer_tells_its_tokens(name):
    document, usage = PLAIN[name]
    for layout in ({}, {"indent": 2}, {"separators": (",", ":")}):
        answer = read(json.dumps(document, **layout).encode())
        assert (answer.usage, answer.model) == (usage, "m")


CHUNK = {"model": "m", "choices": [{"delta": {"content": 'it said "usage": {"prompt_tokens": 9}'}}]}
STREAMED = {
    "chat completions": (
        sse(CHUNK, {**CHUNK, "usage": None}, {"model": "m", "choices": [], "usage": CHAT}) + b"data: [DONE]\n\n",
        OPENAI_USAGE,
    ),
    "responses": (
        sse(
            {"type": "response.created", "response": {"model": "m", "usage": None}},
            {"type": "response.output_text.delta", "delta": "usage"},
            {"type": "response.completed", "response": {"model": "m", "output": [{"x": []}], "usage": RESPONSES}},
        ),
        OPENAI_USAGE,
    ),
    "messages": (
        sse(
            {"type": "message_start", "message": {"model": "m", "usage": {**MESSAGES, "output_tokens": 1}}},
            {"type": "ping"},
            {"type": "content_block_delta", "delta": {"text": "hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}},
        ),
        MESSAGES_USAGE,
    ),
    "gemini": (
        sse(
            {"usageMetadata": {"promptTokenCount": 90}, "modelVersion": "m"},
            {"usageMetadata": GEMINI, "modelVersion": "m"},
        ),
        OPENAI_USAGE,
    ),
    "gemini for a subscription": (
        sse(
            {"response": {"usageMetadata": {"promptTokenCount": 90}, "modelVersion": "m"}, "traceId": "t"},
            {"response": {"usageMetadata": GEMINI, "modelVersion": "m"}, "remainingCredits": []},
        ),
        OPENAI_USAGE,
    ),
}


@pytest.mark.requirement("D09.7")
@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_tells_its_tokens_however_it_is_cut(name, line_end):
    body, usage = STREAMED[name]
    body = body.replace(b"\n", line_end)
    for size in (1, 2, 3, 7, 64, len(body)):
        answer = read(*(body[at : at + size] for at in range(0, len(body), size)))
        assert (answer.usage, answer.model) == (usage, "m"), size


NOTHING = {
    "no body": b"",
    "no usage": json.dumps(CHUNK).encode(),
    "a stream that was not asked for it": sse(CHUNK, CHUNK) + b"data: [DONE]\n\n",
    "half a document": json.dumps({"model": "m", "usage": CHAT})[:-1].encode(),
    "half an event": sse({"usage": CHAT})[:-4],
    "a document cut behind its usage": json.dumps({"usage": CHAT, "model": "m"})[:-1].encode(),
    "an event cut behind its usage": sse({"usage": CHAT, "model": "m"})[:-5],
    "html": b"<html><body>502 usage</body></html>",
    "binary": bytes(range(256)) * 20,
    "a usage that is none": b'{"usage": 7}',
    "counts that are none": b'{"usage": {"prompt_tokens": -1, "completion_tokens": "12", "input_tokens": true}}',
    "a count that is too large": b'{"usage": {"prompt_tokens": %d}}' % (MAX_TOKENS + 1),
    "a number of ten thousand digits": b'{"usage": {"prompt_tokens": %b}}' % (b"9" * 10_000),
    "a usage without an end": b'{"usage": {"x": "' + b"a" * (2 * MAX_VALUE) + b'"}}',
    "a usage as deep as a well": b'{"usage": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "nothing but brackets": b"[" * 1_000_000,
    "nothing but closing ones": b"]}" * 1_000,
    "a key as long as a book": b'{"' + b"usage" * 10_000 + b'": {"prompt_tokens": 1}}',
    "a usage in a text": json.dumps({"text": '"usage": {"prompt_tokens": 1}'}).encode(),
    "a usage further down": json.dumps({"choices": [{"usage": CHAT}]}).encode(),
}


@pytest.mark.requirement("D09.7")
@pytest.mark.parametrize("name", NOTHING)
def test_what_tells_no_tokens_is_unknown_and_harms_nothing(name):
    body = NOTHING[name]
    assert read(body).usage is None
    assert read(*(body[at : at + 999] for at in range(0, len(body), 999))).usage is None


def test_what_comes_after_an_answer_that_was_too_much_is_a_new_event():
    too_deep = b"data: " + b"{" * 600_000 + b"\n\n"
    assert read(too_deep, sse({"usage": CHAT})).usage == OPENAI_USAGE


def test_the_work_for_a_document_is_bounded():
    picker = Picker((("usage",),))
    for _ in range(20):
        picker.feed(b"[" * 65_536)
    assert picker._steps <= MAX_STEPS


def test_what_is_held_of_an_endless_answer_is_bounded():
    answer = Answer()
    for piece in (b'{"usage": {"x": "', *[b"a" * 65_536] * 64):
        answer.feed(piece)
    picker = answer._documents._picker
    assert picker is not None
    assert len(picker._value or b"") <= MAX_VALUE


@pytest.mark.parametrize(
    ("target", "body", "model"),
    [
        (b"/v1/chat/completions", b'{"messages": [{"role": "user", "model": "no"}], "model": "m-1"}', "m-1"),
        (b"/v1/messages?beta=true", b'{"model":"m-1","max_tokens":5}', "m-1"),
        (b"/v1beta/models/m-1:streamGenerateContent?alt=sse", b'{"contents": []}', "m-1"),
        (b"/v1internal:streamGenerateContent", b'{"model": "m-1", "request": {"contents": [], "model": "no"}}', "m-1"),
        (b"/v1/chat/completions", b'{"model": 7}', ""),
        (b"/v1/chat/completions", b'{"model": "a\\nb"}', ""),
        (b"/v1/chat/completions", b'{"model": "%b"}' % (b"x" * 201), ""),
        (b"/v1/chat/completions", b"no json", ""),
    ],
)
def test_a_request_names_its_model_in_body_or_address(target, body, model):
    for size in (1, 5, len(body)):
        asked = Asked(b"POST", target)
        for at in range(0, len(body), size):
            asked.feed(body[at : at + size])
        assert asked.model == model


@pytest.mark.parametrize(
    ("method", "target", "charged"),
    [
        (b"POST", b"/v1/responses", True),
        (b"POST", b"/v1/chat%2Fcompletions", True),
        (b"POST", b"/v1/whatever/is/new", True),
        (b"GET", b"/v1/models", False),
        (b"POST", b"/v1/messages/count_tokens?beta=true", False),
        (b"POST", b"/v1beta/models/m:countTokens", False),
        (b"POST", b"/v1/messages?x=/count_tokens", True),
        (b"POST", b"/v1internal:loadCodeAssist", False),
        (b"POST", b"/v1internal:recordCodeAssistMetrics", False),
        (b"POST", b"/v1internal:countTokens", False),
        (b"POST", b"/v1internal:streamGenerateContent?alt=sse", True),
        (b"POST", b"/v1internal:generateContent/v1internal:loadCodeAssist", True),
        (b"POST", b"/v1internal:whateverIsNew", True),
    ],
)
def test_whatever_is_posted_counts_as_a_call_but_for_what_costs_nothing(method, target, charged):
    assert Asked(method, target).charged is charged
