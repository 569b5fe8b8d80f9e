"""A refusal in the form of the API that was asked.

The status is 400 in all of them: opencode, Codex, Claude and Gemini give up on it at once. On 429, which some providers answer
when an account is empty, they ask again for up to a minute and in silence.
"""

import json
import re
from typing import Any, Final

from acp_runtime.carrying.refusal import Refusal

__all__ = ["over_budget"]

_STATUS: Final = 400
_MESSAGES: Final = re.compile(rb"/messages$")
_GEMINI: Final = re.compile(rb":(?:stream)?[gG]enerateContent$")


class _InItsForm(Refusal):
    """A refusal with a body of its own."""

    def __init__(self, code: str, sentence: str, document: dict[str, Any]) -> None:
        super().__init__(_STATUS, code, sentence)
        self._document = document

    def body(self) -> bytes:
        return json.dumps(self._document).encode("ascii")


def over_budget(target: bytes, why: str) -> Refusal:
    """Return the refusal of a request to `target` since its budget is used up."""
    code, path = "budget_used_up", target.partition(b"?")[0]
    sentence = f"{why[:1].upper()}{why[1:]}. No further call of a model is made for this agent."
    if _MESSAGES.search(path):
        document = {"type": "error", "error": {"type": "invalid_request_error", "message": sentence}}
    elif _GEMINI.search(path):
        document = {"error": {"code": _STATUS, "message": sentence, "status": "FAILED_PRECONDITION"}}
    else:
        document = {"error": {"message": sentence, "type": "insufficient_quota", "param": None, "code": code}}
    return _InItsForm(code, sentence, document)
