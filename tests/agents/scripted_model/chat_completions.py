"""OpenAI chat-completions: how a request is read and how an answer is written. No I/O, no script language."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .asked import Answer, Ask, BadRequestError, tokens
from .script import Pause, holds_directive
from .tools import Offer

PATH = "/v1/chat/completions"
CREATED = 1_700_000_000
"""A fixed time: equal requests get equal bytes."""


def read(body: object) -> Ask:
    """Read a decoded request body. Raises BadRequestError."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise BadRequestError("The body is no object with a list of messages.")
    script, outputs = _script([m for m in body["messages"] if isinstance(m, dict)])
    options = body.get("stream_options")
    return Ask(
        model=str(body.get("model", "scripted")),
        script=script,
        outputs=outputs,
        offers=[*_offers(body.get("tools"))],
        streaming=body.get("stream") is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
        prompt_tokens=tokens(json.dumps(body["messages"])),
    )


def whole(ask: Ask, answer: Answer) -> bytes:
    """Return the answer as one JSON document; pauses are the caller's business."""
    message: dict[str, object] = {"role": "assistant", "content": answer.text or None}
    if answer.call:
        message["tool_calls"] = [_tool_call(ask, *answer.call)]
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer)}
    usage = _usage(ask, answer)
    return json.dumps({**_head(ask, "chat.completion"), "choices": [choice], "usage": usage}).encode()


def events(ask: Ask, answer: Answer) -> Iterator[bytes | Pause]:
    """Return the answer as server-sent events, with the pauses between them.

    The last event before `[DONE]` carries the usage when the request asked for it.
    """
    yield _event(ask, {"role": "assistant", "content": ""})
    for item in answer.items:
        yield item if isinstance(item, Pause) else _event(ask, {"content": item.text})
    if answer.call:
        yield _event(ask, {"tool_calls": [{"index": 0, **_tool_call(ask, *answer.call)}]})
    yield _event(ask, {}, _finish(answer))
    if ask.wants_usage:
        yield _sse({**_head(ask, "chat.completion.chunk"), "choices": [], "usage": _usage(ask, answer)})
    yield b"data: [DONE]\n\n"


def failure(status: int, message: str) -> bytes:
    """Return the error document of a status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": str(status)}}).encode()


def _script(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    outputs: list[str] = []
    for message in reversed(messages):
        if message.get("role") == "tool":
            outputs.insert(0, _text(message.get("content")))
        elif message.get("role") == "user" and holds_directive(text := _text(message.get("content"))):
            return text, outputs
    return "", []


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _offers(tools: object) -> Iterator[Offer]:
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            schema = function.get("parameters")
            yield Offer(str(function.get("name", "")), schema if isinstance(schema, dict) else {})


def _tool_call(ask: Ask, name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{ask.results}", "type": "function", "function": function}


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.call else "stop"


def _usage(ask: Ask, answer: Answer) -> dict[str, int]:
    completion = tokens(answer.text + json.dumps(answer.call))
    total = ask.prompt_tokens + completion
    return {"prompt_tokens": ask.prompt_tokens, "completion_tokens": completion, "total_tokens": total}


def _head(ask: Ask, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{ask.results}", "object": kind, "created": CREATED, "model": ask.model}


def _event(ask: Ask, delta: Mapping[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _sse({**_head(ask, "chat.completion.chunk"), "choices": [choice]})


def _sse(document: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"
