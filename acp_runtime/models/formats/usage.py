"""What an answer tells of its tokens, by the shape in which each kind of API says it.

| API | where | cached tokens are |
|---|---|---|
| OpenAI chat completions and the like | `usage.prompt_tokens`, in the last event where it was asked for | in it |
| OpenAI responses | `usage.input_tokens`, `response.usage` of the last event | in it |
| Anthropic messages | `usage.input_tokens`, `message.usage` of the first event, corrected by later ones | beside it |
| Gemini | `usageMetadata`, in each event, the last one counts; for subscriptions in a `response` | in it |

The shape decides, not the address that was asked: an agent chooses addresses, its provider shapes.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from acp_runtime.core.metering import MAX_TOKENS, Usage
from acp_runtime.models.formats.documents import Documents
from acp_runtime.models.formats.picking import ANY, Path

__all__ = ["Answer", "model_name"]

_MAX_MODEL: Final = 200
_WHERE: Final[tuple[tuple[Path, Path], ...]] = (
    (("usage",), ("model",)),
    (("message", "usage"), ("message", "model")),
    (("response", "usage"), ("response", "model")),
    (("usageMetadata",), ("modelVersion",)),
    ((ANY, "usageMetadata"), (ANY, "modelVersion")),
    (("response", "usageMetadata"), ("response", "modelVersion")),
)
_FINAL: Final = (("usage",), ("response", "usage"))
_WANTED: Final = frozenset(path for both in _WHERE for path in both)
_KNOWN: Final = (
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens", "completion_tokens_details.reasoning_tokens",
    "input_tokens", "output_tokens", "input_tokens_details.cached_tokens", "output_tokens_details.reasoning_tokens",
    "prompt_tokens_details.cache_write_tokens",
    "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation.ephemeral_1h_input_tokens",
    "promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount", "candidatesTokenCount",
    "thoughtsTokenCount",
)  # fmt: skip

_Counts = Mapping[str, int]


class Answer:
    """One answer of a model. `usage` and `model` hold what it told so far; None and "" when it told nothing.

    `final`: the usage is known to be that of the whole answer, whatever still comes.
    """

    def __init__(self) -> None:
        self.model = ""
        self.final = False
        self._counts: dict[str, int] = {}
        self._documents = Documents(_WANTED, self._hear)

    def feed(self, data: bytes) -> None:
        """Look at the next piece of its body. Raises nothing."""
        self._documents.feed(data)

    def finish(self) -> None:
        """Look at what is left; the body has ended."""
        self._documents.finish()

    @property
    def usage(self) -> Usage | None:
        counts = self._counts
        if "promptTokenCount" in counts or "candidatesTokenCount" in counts:
            return _gemini(counts)
        if "prompt_tokens" in counts or "completion_tokens" in counts:
            return _chat(counts)
        if "input_tokens" in counts or "output_tokens" in counts:
            return _responses(counts) if "input_tokens_details.cached_tokens" in counts else _messages(counts)
        return None

    def _hear(self, found: Mapping[Path, Any]) -> None:
        for where, model in _WHERE:
            if counts := dict(_read(found.get(where))):
                self._counts |= counts
                self.model = model_name(found.get(model)) or self.model
                self.final = self.final or where in _FINAL


def model_name(value: Any) -> str:
    """Return what names a model, fit to be stored and shown; empty for what is no name."""
    name = value.strip() if isinstance(value, str) else ""
    return name if len(name) <= _MAX_MODEL and name.isprintable() else ""


def _read(usage: Any) -> Iterator[tuple[str, int]]:
    """Yield the counts that are known and make sense."""
    for name in _KNOWN:
        value: Any = usage
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            yield name, value


def _first(counts: _Counts, *names: str) -> int:
    return next((counts[name] for name in names if name in counts), 0)


def _with_cache_inside(prompt: int, cached: int, written: int, output: int, reasoning: int) -> Usage:
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Usage(prompt - cached - written, cached, written, output, min(reasoning, output))


def _chat(counts: _Counts) -> Usage:
    prompt, output = _first(counts, "prompt_tokens"), _first(counts, "completion_tokens")
    reasoning = _first(counts, "completion_tokens_details.reasoning_tokens")
    if reasoning and counts.get("total_tokens") == prompt + output + reasoning:  # some count it beside the output
        output += reasoning
    cached = _first(counts, "prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens")
    return _with_cache_inside(
        prompt, cached, _first(counts, "prompt_tokens_details.cache_write_tokens"), output, reasoning
    )


def _responses(counts: _Counts) -> Usage:
    return _with_cache_inside(
        _first(counts, "input_tokens"),
        _first(counts, "input_tokens_details.cached_tokens"),
        0,
        _first(counts, "output_tokens"),
        _first(counts, "output_tokens_details.reasoning_tokens"),
    )


def _messages(counts: _Counts) -> Usage:
    written = _first(counts, "cache_creation_input_tokens")
    return Usage(
        input=_first(counts, "input_tokens"),
        cached_input=_first(counts, "cache_read_input_tokens"),
        cache_write=written,
        output=_first(counts, "output_tokens"),
        cache_write_hour=min(written, _first(counts, "cache_creation.ephemeral_1h_input_tokens")),
    )


def _gemini(counts: _Counts) -> Usage:
    prompt = _first(counts, "promptTokenCount") + _first(counts, "toolUsePromptTokenCount")
    thoughts = _first(counts, "thoughtsTokenCount")
    output = _first(counts, "candidatesTokenCount") + thoughts
    return _with_cache_inside(prompt, _first(counts, "cachedContentTokenCount"), 0, output, thoughts)
