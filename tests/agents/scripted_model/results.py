"""What tools answered, put into the script in place of `{{N}}` and `{{N.key}}`."""

import json
import re
from collections.abc import Iterator
from typing import Any

from .asked import Ask

PLACE = re.compile(r"\{\{(\d+)(?:\.(\w+))?\}\}")


def filled(ask: Ask) -> str:
    """Return the script with every result that is there already; a place whose result is not there stays as it is."""

    def value(place: re.Match[str]) -> str:
        number, key = int(place[1]), place[2]
        if not 1 <= number <= len(ask.outputs):
            return place[0]
        output = ask.outputs[number - 1]
        found = output if key is None else next(_values(output, key), place[0])
        text = found if isinstance(found, str) else json.dumps(found)
        # It must end neither the directive that it stands in nor the JSON of a call.
        if _inside_call(place):
            return json.dumps(text)[1:-1].replace("[", "\\u005b").replace("]", "\\u005d")
        return text.replace("]]", "] ]")

    return PLACE.sub(value, ask.script)


def _inside_call(place: re.Match[str]) -> bool:
    before = place.string[: place.start()]
    opened = before.rfind("[[")
    return opened >= 0 and before.startswith("[[call:", opened) and "]]" not in before[opened:]


def _values(found: Any, key: str) -> Iterator[Any]:
    """Give the values of a key, the outermost first. Agents wrap results in blocks, and these in texts."""
    if isinstance(found, str):
        start = min((at for at in (found.find("{"), found.find("[")) if at >= 0), default=-1)
        try:
            yield from _values(json.JSONDecoder().raw_decode(found[start:])[0], key) if start >= 0 else ()
        except ValueError:
            return
    elif isinstance(found, dict):
        if key in found:
            yield found[key]
        for each in found.values():
            yield from _values(each, key)
    elif isinstance(found, list):
        for each in found:
            yield from _values(each, key)
