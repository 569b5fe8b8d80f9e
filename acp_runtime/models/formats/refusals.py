"""A refusal in the form of the API that was asked.

The status is 400 where asking again is no use: opencode, Codex, Claude and Gemini give up on it at once. On 429, which
some providers answer when an account is empty, they ask again for up to a minute and in silence.
"""

import json
import re
from typing import Any, Final

from acp_runtime.carrying.refusal import Refusal

__all__ = ["no_batches", "over_budget", "without_key"]

_STATUS: Final = 400
_AGAIN: Final = 503
_PASSING: Final = frozenset(("key_unreadable", "key_refused"))
_NO_KEY: Final = "There is no key for this model now. Who runs this sandbox sees why (subagents reached --refused)."
_OTHER_KEY: Final = "The model refused its key, which is read again now: ask once more."
_MESSAGES: Final = re.compile(rb"/messages$")
_GEMINI: Final = re.compile(rb":(?:stream)?(?:g|G|batchG)enerateContent$")


class _InItsForm(Refusal):
    """A refusal with a body of its own."""

    def __init__(self, status: int, code: str, sentence: str, document: dict[str, Any]) -> None:
        super().__init__(status, code, sentence)
        self._document = document

    def body(self) -> bytes:
        return json.dumps(self._document).encode("ascii")


def over_budget(target: bytes, why: str) -> Refusal:
    """Return the refusal of a request to `target` since its budget is used up."""
    sentence = f"{why[:1].upper()}{why[1:]}. No further call of a model is made for this agent."
    return _refusal(target, _STATUS, "budget_used_up", sentence, kind="insufficient_quota", told=sentence)


def no_batches(target: bytes) -> Refusal:
    """Return the refusal of a request to `target` for answers that come later."""
    sentence = (
        "Answers that come later (batches, background) are not carried, since what they use could not be counted."
    )
    return _refusal(target, _STATUS, "batch_refused", sentence, kind="invalid_request_error", told=sentence)


def without_key(target: bytes, code: str, sentence: str) -> Refusal:
    """Return the refusal of a request to `target` for which there is no key.

    Where it could not be read now, or may be another one at the next request, clients are to ask again. They are not
    told the sentence: it names files and accounts of this machine, and says what a program of it said.
    """
    told = _OTHER_KEY if code == "key_refused" else _NO_KEY
    return _refusal(
        target, _AGAIN if code in _PASSING else _STATUS, code, sentence, kind="authentication_error", told=told
    )


def _refusal(target: bytes, status: int, code: str, sentence: str, *, kind: str, told: str) -> Refusal:
    path = target.partition(b"?")[0]
    if _MESSAGES.search(path):
        document = {"type": "error", "error": {"type": "invalid_request_error", "message": told}}
    elif _GEMINI.search(path):
        document = {"error": {"code": status, "message": told, "status": "FAILED_PRECONDITION"}}
    else:
        document = {"error": {"message": told, "type": kind, "param": None, "code": code}}
    return _InItsForm(status, code, sentence, document)
