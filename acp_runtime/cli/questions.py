"""Open questions of a subagent as people read them: the command that gives each answer, and what follows on none."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from acp_runtime.core.plaintext import one_line

__all__ = ["question_lines"]

_TO_KNOW: Final = frozenset({"form", "ask"})
# What becomes of a question that nobody answers, by its kind.
_UNANSWERED: Final = {
    "permission": "it is refused",
    "question": "the queued tasks are cancelled",
    "egress": "it stays refused",
    "login": "its task fails",
    "form": "the agent gets no answer",
    "ask": "the agent gets no answer",
}


def question_lines(view: Mapping[str, Any]) -> Iterator[str]:
    """Yield each open question, a line for each answer that may be pasted into a shell, and how long it is open."""
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
        if request["closes_at"]:
            then = _UNANSWERED.get(request["kind"], "it is closed with a no")
            yield f"  open until {request['closes_at'][:19].replace('T', ' ')} UTC; then {then}"
