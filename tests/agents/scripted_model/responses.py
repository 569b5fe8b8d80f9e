"""OpenAI responses: how a request is read and how an answer is written. No I/O, no script language."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from .asked import Answer, Ask, BadRequestError, tokens
from .script import Pause, Say, holds_directive
from .tools import Offer

PATH = "/v1/responses"
CREATED = 1_700_000_000
"""A fixed time: equal requests get equal bytes."""
RESULTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")

_ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def read(body: object) -> Ask:
    """Read a decoded request body. Raises BadRequestError."""
    if not isinstance(body, dict) or not isinstance(body.get("input"), str | list):
        raise BadRequestError("The body is no object with an input, a text or a list of items.")
    script, outputs = _script(_items(body["input"]))
    return Ask(
        model=str(body.get("model", "scripted")),
        script=script,
        outputs=outputs,
        offers=[*_offers(body.get("tools"))],
        streaming=body.get("stream") is True,
        wants_usage=True,
        prompt_tokens=tokens(json.dumps(body["input"])),
    )


def whole(ask: Ask, answer: Answer) -> bytes:
    """Return the answer as one JSON document; pauses are the caller's business."""
    return json.dumps(_finished(ask, answer)).encode()


def events(ask: Ask, answer: Answer) -> Iterator[bytes | Pause]:
    """Return the answer as server-sent events, with the pauses between them; the last carries the whole."""
    numbers = count()
    begun = {**_head(ask), "status": "in_progress", "output": []}
    for kind in ("response.created", "response.in_progress"):
        yield _sse(numbers, kind, response=begun)
    if not answer.text:
        yield from (item for item in answer.items if isinstance(item, Pause))
    for index, item in enumerate(_output(ask, answer)):
        where = {"item_id": item["id"], "output_index": index}
        yield _sse(numbers, "response.output_item.added", output_index=index, item=_empty(item))
        if item["type"] == "message":
            yield from _spoken(numbers, where, answer.items, item["content"][0])
        else:
            yield _sse(numbers, "response.function_call_arguments.delta", **where, delta=item["arguments"])
            yield _sse(numbers, "response.function_call_arguments.done", **where, arguments=item["arguments"])
        yield _sse(numbers, "response.output_item.done", output_index=index, item=item)
    yield _sse(numbers, "response.completed", response=_finished(ask, answer))


def failure(status: int, message: str) -> bytes:
    """Return the error document of a status."""
    kind, code = _ERRORS.get(status, ("server_error", None) if status >= 500 else ("invalid_request_error", None))
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def _spoken(
    numbers: Iterator[int], where: Mapping[str, object], items: Sequence[Pause | Say], part: Mapping[str, object]
) -> Iterator[bytes | Pause]:
    at = {**where, "content_index": 0}
    yield _sse(numbers, "response.content_part.added", **at, part={**part, "text": ""})
    for item in items:
        yield item if isinstance(item, Pause) else _sse(numbers, "response.output_text.delta", **at, delta=item.text)
    yield _sse(numbers, "response.output_text.done", **at, text=part["text"])
    yield _sse(numbers, "response.content_part.done", **at, part=part)


def _items(given: str | Sequence[Any]) -> list[Mapping[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [item for item in given if isinstance(item, dict)]


def _script(items: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    outputs: list[str] = []
    for item in reversed(items):
        if item.get("type") in RESULTS:
            outputs.insert(0, _text(item.get("output")))
        elif item.get("role") == "user" and holds_directive(text := _text(item.get("content"))):
            return text, outputs
    return "", []


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _offers(tools: object) -> Iterator[Offer]:
    """Give the functions, those of a group as GROUP.NAME; other kinds (free-form, built-in) take no named arguments."""
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        if tool.get("type") == "function":
            schema = tool.get("parameters")
            yield Offer(str(tool.get("name", "")), schema if isinstance(schema, dict) else {})
        elif tool.get("type") == "namespace":
            yield from (Offer(f"{tool.get('name')}.{each.name}", each.schema) for each in _offers(tool.get("tools")))


def _output(ask: Ask, answer: Answer) -> Iterator[dict[str, Any]]:
    unique = f"{ask.prompt_tokens}_{ask.results}"  # within its conversation: an agent keeps its calls by these ids
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        yield {"type": "message", "id": f"msg_{unique}", "role": "assistant", "status": "completed", "content": [part]}
    if answer.call:
        name, arguments = answer.call
        call = {"type": "function_call", "id": f"fc_{unique}", "call_id": f"call_{unique}", "status": "completed"}
        group, _, bare = name.rpartition(".")
        yield {**call, "name": bare, "arguments": json.dumps(arguments), **({"namespace": group} if group else {})}


def _empty(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as it is when it is begun."""
    return {**item, "status": "in_progress", **({"content": []} if "content" in item else {"arguments": ""})}


def _head(ask: Ask) -> dict[str, object]:
    fixed = {"object": "response", "created_at": CREATED, "error": None, "incomplete_details": None}
    return {"id": f"resp_{ask.prompt_tokens}_{ask.results}", "model": ask.model, **fixed}


def _finished(ask: Ask, answer: Answer) -> dict[str, object]:
    said = tokens(answer.text + json.dumps(answer.call))
    usage = {
        "input_tokens": ask.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": ask.prompt_tokens + said,
    }
    return {**_head(ask), "status": "completed", "output": [*_output(ask, answer)], "usage": usage}


def _sse(numbers: Iterator[int], kind: str, **values: object) -> bytes:
    document = {"type": kind, "sequence_number": next(numbers), **values}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps(document).encode())
