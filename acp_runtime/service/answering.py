"""Which answers a caller may give: a parent opens no way out of a sandbox beyond the ceiling, or beyond its own."""

from typing import Final

from acp_runtime.callers import Caller, Leader, Operator
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Subagent
from acp_runtime.core.request import RequestKind
from acp_runtime.core.wishes import ALLOW, ALWAYS
from acp_runtime.egress.rules import Rule
from acp_runtime.manager.policy import Standing
from acp_runtime.presets import find_preset, reaches
from acp_runtime.service.descent import own_preset
from acp_runtime.store.codec import storable

__all__ = ["vetted", "written"]

MAX_TEXT: Final = 16_384


def written(text: str) -> str:
    """Return a text that answers as it is stored. Raises `Rejected` (answer_invalid) for one that is too long."""
    if len(text) > MAX_TEXT:
        raise Rejected("answer_invalid", f"the answer is {len(text)} characters long; at most {MAX_TEXT} are allowed")
    return storable(text)


def vetted(
    config: Config,
    caller: Caller,
    asked: Subagent | None,
    request_id: str,
    option: str,
    *,
    leader: Subagent | None = None,
) -> Standing | None:
    """Return what an answer allows for good, None where that is nothing. Raises `Rejected` (beyond_ceiling).

    A parent allows no more than the ceiling of now: what was narrowed since the question was asked stays shut. One that
    is a subagent, `leader` while it lives, allows nothing that it does not reach itself.
    """
    open_ones = asked.open_requests if asked is not None else ()
    request = next((each for each in open_ones if each.id == request_id), None)
    if asked is None or request is None or request.kind is not RequestKind.EGRESS:
        return None
    if isinstance(caller, Operator):
        return Standing(asked.order.preset, request.rule) if option == ALWAYS else None
    if option == ALLOW and not reaches(find_preset(config.presets, config.ceiling), Rule.parse(request.rule)):
        sentence = f"the ceiling {config.ceiling!r} does not reach {request.rule}, so no parent may allow it"
        command = f"subagents answer {asked.id} {ALLOW} --request {request.id}"
        raise Rejected("beyond_ceiling", f"{sentence}. The operator may: {command}", {"rule": request.rule})
    own = None if leader is None else own_preset(config, leader)
    if option == ALLOW and isinstance(caller, Leader) and not (own and reaches(own, Rule.parse(request.rule))):
        sentence = f"you do not reach {request.rule} yourself, so you may not allow it"
        raise Rejected("beyond_ceiling", f"{sentence}: it is asked of whoever leads you", {"rule": request.rule})
    return None
