"""Gemini's generateContent: how a request is read and how an answer is written. No I/O, no script language.

Model and manner stand in the path of a request, so that a format is made for each path: `at`. Subscriptions ask for
the same in an envelope, by Code Assist's API, of which `account` answers what is asked beside that.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .asked import Answer, Ask, BadRequestError, tokens
from .script import Pause, holds_directive
from .tools import Offer

PATH = "/v1beta/models/MODEL:generateContent"

_PATH = re.compile(r"/v1beta/models/([^/:]+):(generateContent|streamGenerateContent)")
_ENVELOPED = re.compile(r"/v1internal:(generateContent|streamGenerateContent)")
_ACCOUNT = re.compile(r"/v1internal:(\w+)")
_LOADED = {"currentTier": {"id": "standard-tier"}, "cloudaicompanionProject": "scripted-project"}
_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Gemini:
    """The format of one path."""

    model: str
    streaming: bool

    def read(self, body: object) -> Ask:
        """Read a decoded request body. Raises BadRequestError."""
        if not isinstance(body, dict) or not isinstance(body.get("contents"), list):
            raise BadRequestError("The body is no object with a list of contents.")
        script, outputs = _script([each for each in body["contents"] if isinstance(each, dict)])
        return Ask(
            model=self.model,
            script=script,
            outputs=outputs,
            offers=[*_offers(body.get("tools"))],
            streaming=self.streaming,
            wants_usage=True,
            prompt_tokens=tokens(json.dumps(body["contents"])),
        )

    def whole(self, ask: Ask, answer: Answer) -> bytes:
        """Return the answer as one JSON document; pauses are the caller's business."""
        parts: list[Mapping[str, object]] = [{"text": answer.text}] if answer.text else []
        return json.dumps(self.shown(_chunk(ask, [*parts, *_calls(answer)], end=answer))).encode()

    def events(self, ask: Ask, answer: Answer) -> Iterator[bytes | Pause]:
        """Return the answer as server-sent events, with the pauses between them."""
        for item in answer.items:
            yield item if isinstance(item, Pause) else _sse(self.shown(_chunk(ask, [{"text": item.text}])))
        yield _sse(self.shown(_chunk(ask, _calls(answer), end=answer)))

    def failure(self, status: int, message: str) -> bytes:
        """Return the error document of a status."""
        return json.dumps(
            {"error": {"code": status, "message": message, "status": _ERRORS.get(status, "UNKNOWN")}}
        ).encode()

    def shown(self, chunk: Mapping[str, object]) -> Mapping[str, object]:
        """Return a part of an answer as it is sent."""
        return chunk


class Enveloped(Gemini):
    """The same in Code Assist's envelope, which names the model."""

    def read(self, body: object) -> Ask:
        if not isinstance(body, dict):
            raise BadRequestError("The body is no object.")
        return replace(super().read(body.get("request")), model=str(body.get("model", "")))

    def shown(self, chunk: Mapping[str, object]) -> Mapping[str, object]:
        return {"response": chunk, "traceId": "scripted"}


def at(path: str) -> Gemini | None:
    """Return the format of a path, None where it is none of these."""
    if found := _ENVELOPED.fullmatch(path):
        return Enveloped("", found[1] == "streamGenerateContent")
    found = _PATH.fullmatch(path)
    return Gemini(found[1], found[2] == "streamGenerateContent") if found else None


def account(path: str) -> bytes | None:
    """Return what Code Assist says of a subscription at a path, None where it is none of its other calls."""
    found = _ACCOUNT.fullmatch(path)
    if found is None or at(path) is not None:
        return None
    return json.dumps(_LOADED if found[1] == "loadCodeAssist" else {}).encode()


def _script(contents: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Find the newest words of the user that hold a directive; results of tools are contents of the user too."""
    outputs: list[str] = []
    for content in reversed(contents):
        if content.get("role") == "model":
            continue
        for part in reversed([each for each in content.get("parts") or () if isinstance(each, dict)]):
            text = str(part.get("text", ""))
            if "functionResponse" in part:
                outputs.insert(0, json.dumps(part["functionResponse"]))
            elif holds_directive(text):
                return text, outputs
    return "", []


def _offers(tools: object) -> Iterator[Offer]:
    for tool in tools if isinstance(tools, list) else ():
        for each in tool.get("functionDeclarations", ()) if isinstance(tool, dict) else ():
            schema = each.get("parametersJsonSchema", each.get("parameters"))
            yield Offer(str(each.get("name", "")), _plain(schema) if isinstance(schema, dict) else {})


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with the names of types as JSON schema has them; Gemini's own are upper case."""
    return {
        key: value.lower()
        if key == "type" and isinstance(value, str)
        else _plain(value)
        if isinstance(value, dict)
        else value
        for key, value in schema.items()
    }


def _calls(answer: Answer) -> list[Mapping[str, object]]:
    return [{"functionCall": {"name": answer.call[0], "args": answer.call[1]}}] if answer.call else []


def _chunk(ask: Ask, parts: Sequence[Mapping[str, object]], *, end: Answer | None = None) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"role": "model", "parts": [*parts]}, "index": 0}
    chunk: dict[str, object] = {"candidates": [candidate], "modelVersion": ask.model}
    if end is not None:
        candidate["finishReason"] = "STOP"
        said = tokens(end.text + json.dumps(end.call))
        usage = {"promptTokenCount": ask.prompt_tokens, "candidatesTokenCount": said}
        chunk["usageMetadata"] = {**usage, "totalTokenCount": ask.prompt_tokens + said}
    return {**chunk, "responseId": f"gemini_{ask.prompt_tokens}_{ask.results}"}


def _sse(chunk: Mapping[str, object]) -> bytes:
    return b"data: %b\r\n\r\n" % json.dumps(chunk).encode()
