"""Anthropic messages: how a request is read and how an answer is written. No I/O, no script language."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .asked import Answer, Ask, BadRequestError, tokens
from .script import Pause, holds_directive
from .tools import Offer

PATH = "/v1/messages"

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read(body: object) -> Ask:
    """Read a decoded request body. Raises BadRequestError."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise BadRequestError("The body is no object with a list of messages.")
    script, outputs = _script([m for m in body["messages"] if isinstance(m, dict)])
    return Ask(
        model=str(body.get("model", "scripted")),
        script=script,
        outputs=outputs,
        offers=[*_offers(body.get("tools"))],
        streaming=body.get("stream") is True,
        wants_usage=True,
        prompt_tokens=tokens(json.dumps(body["messages"])),
    )


def whole(ask: Ask, answer: Answer) -> bytes:
    """Return the answer as one JSON document; pauses are the caller's business."""
    content: list[dict[str, object]] = [{"type": "text", "text": answer.text}] if answer.text else []
    if answer.call:
        name, arguments = answer.call
        content.append({**_tool_use(ask, name), "input": arguments})
    return json.dumps({**_head(ask), "content": content, **_end(answer), "usage": _usage(ask, answer)}).encode()


def events(ask: Ask, answer: Answer) -> Iterator[bytes | Pause]:
    """Return the answer as server-sent events, with the pauses between them."""
    empty = {**_head(ask), "content": [], "stop_reason": None, "stop_sequence": None}
    yield _sse("message_start", message={**empty, "usage": _usage(ask, Answer(()))})
    index = 0
    if answer.items:
        yield _sse("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for item in answer.items:
            yield item if isinstance(item, Pause) else _delta(index, {"type": "text_delta", "text": item.text})
        yield _sse("content_block_stop", index=index)
        index += 1
    if answer.call:
        name, arguments = answer.call
        yield _sse("content_block_start", index=index, content_block={**_tool_use(ask, name), "input": {}})
        yield _delta(index, {"type": "input_json_delta", "partial_json": json.dumps(arguments)})
        yield _sse("content_block_stop", index=index)
    yield _sse("message_delta", delta=_end(answer), usage=_usage(ask, answer))
    yield _sse("message_stop")


def failure(status: int, message: str) -> bytes:
    """Return the error document of a status."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def _script(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Find the newest words of the user that hold a directive.

    One message holds blocks of several origins: results, reminders, what was said into a running turn, and every prompt
    since the last answer when the model had failed in between.
    """
    outputs: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        for block in reversed(_blocks(message.get("content"))):
            text = str(block.get("text", ""))
            if block.get("type") == "tool_result":
                outputs.insert(0, "\n".join(str(each.get("text", "")) for each in _blocks(block.get("content"))))
            elif holds_directive(text):
                return text, outputs
    return "", []


def _blocks(content: object) -> list[Mapping[str, Any]]:
    if isinstance(content, list):
        return [block for block in content if isinstance(block, dict)]
    return [{"type": "text", "text": content}] if isinstance(content, str) else []


def _offers(offered: object) -> Iterator[Offer]:
    for tool in offered if isinstance(offered, list) else ():
        if isinstance(tool, dict):
            schema = tool.get("input_schema")
            yield Offer(str(tool.get("name", "")), schema if isinstance(schema, dict) else {})


def _head(ask: Ask) -> dict[str, object]:
    return {"id": f"msg_{_unique(ask)}", "type": "message", "role": "assistant", "model": ask.model}


def _tool_use(ask: Ask, name: str) -> dict[str, object]:
    return {"type": "tool_use", "id": f"toolu_{_unique(ask)}", "name": name}


def _unique(ask: Ask) -> str:
    """Name an answer within its conversation, which grows with each request: an agent keeps its calls by these ids."""
    return f"{ask.prompt_tokens}_{ask.results}"


def _end(answer: Answer) -> dict[str, object]:
    return {"stop_reason": "tool_use" if answer.call else "end_turn", "stop_sequence": None}


def _usage(ask: Ask, answer: Answer) -> dict[str, int]:
    return {"input_tokens": ask.prompt_tokens, "output_tokens": tokens(answer.text + json.dumps(answer.call))}


def _delta(index: int, delta: Mapping[str, object]) -> bytes:
    return _sse("content_block_delta", index=index, delta=delta)


def _sse(kind: str, **values: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **values}).encode())
