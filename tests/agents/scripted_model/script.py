"""The script language: from the words of a user message to the rounds that answer it.

Pure: no I/O, no clock, no wire format. The language itself is described in the package docstring.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

TOOL_STEPS = {
    "write": ("path", "content"),
    "edit": ("path", "old", "new"),
    "shell": ("command",),
    "call": ("name", "arguments"),
}
OTHER_STEPS = ("text", "stream", "sleep", "fail")
DIRECTIVE = re.compile(r"\[\[(" + "|".join((*TOOL_STEPS, *OTHER_STEPS)) + r"):(.*?)\]\](?!\])", re.DOTALL)
DEFAULT_TEXT = "Done."

SLEEP_LIMIT = 3600.0
"""Seconds one script may be silent at a time: longer than every deadline of the project, and still an end."""
STREAM_LIMIT = 100_000
"""Words of one stream."""


class ScriptError(ValueError):
    """A directive that cannot be played; the text names it and says what it takes."""


@dataclass(frozen=True)
class Pause:
    """Silence, in seconds."""

    seconds: float


@dataclass(frozen=True)
class Say:
    """One piece of text."""

    text: str


@dataclass(frozen=True)
class Fail:
    """An HTTP status instead of an answer; `times` is None for ever."""

    status: int
    times: int | None


@dataclass(frozen=True)
class ToolStep:
    """A tool the agent shall use: `kind` is write, edit, shell or call; `values` are its arguments by our own names."""

    kind: str
    values: dict[str, str]


@dataclass
class Round:
    """The answer to one request: `fail` (after `before` seconds), or `items` and then the tool call, if any."""

    items: list[Pause | Say] = field(default_factory=list)
    call: ToolStep | None = None
    fail: Fail | None = None
    before: float = 0.0


def holds_directive(text: str) -> bool:
    """Return whether a user message is a script."""
    return DIRECTIVE.search(text) is not None


def call(name: str, **arguments: object) -> str:
    """Return the directive that calls a tool; the arguments may hold directives, which are played by who gets them."""
    marked = _each_text(arguments, lambda text: text.replace("[", "\1").replace("]", "\2"))
    written = json.dumps(marked).replace("\\u0001", "\\u005b").replace("\\u0002", "\\u005d")
    return f"[[call:{name}|{written.replace(']]', '] ]')}]]"


def _each_text(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, dict):
        return {key: _each_text(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


def rounds(text: str) -> list[Round]:
    """Return the rounds of a script, at least one; the last has no tool call and always says something.

    Raises ScriptError for arguments that make no sense.
    """
    found = [Round()]
    for name, argument in DIRECTIVE.findall(text):
        if name in TOOL_STEPS:
            found[-1].call = _tool_step(name, argument)
            found.append(Round())
        else:
            _add(found[-1], name, argument)
    last = found[-1]
    if not any(isinstance(item, Say) for item in last.items):
        last.items.append(Say(DEFAULT_TEXT))
    return found


def round_at(text: str, results: int) -> Round:
    """Return the round that follows `results` tool results; an agent that went past the end gets the last one."""
    script = rounds(text)
    return script[min(results, len(script) - 1)]


def _tool_step(name: str, argument: str) -> ToolStep:
    keys = TOOL_STEPS[name]
    values = argument.split("|", len(keys) - 1)
    if len(values) != len(keys) or not values[0]:
        raise ScriptError(f"[[{name}:{argument}]] takes {'|'.join(keys).upper()}.")
    return ToolStep(name, dict(zip(keys, values, strict=True)))


def _add(target: Round, name: str, argument: str) -> None:
    if name == "text":
        target.items.append(Say(argument))
    elif name == "stream":
        count, milliseconds = _numbers(name, argument, ("N", "MS"), (STREAM_LIMIT, SLEEP_LIMIT * 1000))
        target.items.extend(_stream(int(count), milliseconds / 1000))
    elif name == "sleep":
        (seconds,) = _numbers(name, argument, ("S",), (SLEEP_LIMIT,))
        target.items.append(Pause(seconds))
    else:
        target.fail = _fail(argument)
        target.before = sum(item.seconds for item in target.items if isinstance(item, Pause))


def _fail(argument: str) -> Fail:
    given = argument if "|" in argument else argument + "|0"
    status, times = _numbers("fail", given, ("CODE", "TIMES"), (599, 1000))
    if status < 400:
        raise ScriptError(f"[[fail:{argument}]] takes an HTTP status from 400 to 599.")
    return Fail(int(status), int(times) if "|" in argument else None)


def _stream(count: int, seconds: float) -> Iterator[Pause | Say]:
    for number in range(count):
        if seconds:
            yield Pause(seconds)
        yield Say(f"{number} ")


def _numbers(name: str, argument: str, names: Sequence[str], limits: Sequence[float]) -> list[float]:
    try:
        numbers = [float(part) for part in argument.split("|")]
    except ValueError:
        numbers = []
    if len(numbers) != len(names) or not all(0 <= n <= limit for n, limit in zip(numbers, limits, strict=True)):
        takes = "|".join(f"{key} (0 to {limit:g})" for key, limit in zip(names, limits, strict=True))
        raise ScriptError(f"[[{name}:{argument}]] takes {takes}.")
    return numbers
