"""Open questions of a subagent as people read them, with the command that gives each answer."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from acp_runtime.core.plaintext import one_line

__all__ = ["question_lines"]

_TO_KNOW: Final = frozenset({"form", "ask"})


def question_lines(view: Mapping[str, Any]) -> Iterator[str]:
    """Yield each open question, and a line for each answer to it that may be pasted into a shell."""
    from acp_runtime.core.permission import KINDS  # noqa: PLC0415 - most verbs show no question

    several = len(view["requests"]) > 1
    for request in view["requests"]:
        yield f"question {request['id']}  {one_line(request['title'], 400)}"
        which = f" --request {shlex.quote(one_line(request['id'], 200))}" if several else ""
        for option in request["options"]:
            # The words of an option are the agent's. What an answer does is its kind.
            kind = option["kind"] if option["kind"] in KINDS or request["kind"] in _TO_KNOW else "unknown"
            chosen = shlex.quote(one_line(option["id"], 200))
            yield f"  subagents answer {view['id']} {chosen}{which}  ({kind}: {one_line(option['name'], 100)})"
        if request["writing"]:
            yield f"  subagents answer {view['id']} --text '...'{which}  ({one_line(request['writing'], 400)})"
