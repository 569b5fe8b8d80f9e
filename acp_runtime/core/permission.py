"""Which of the offered options answers a permission request. Decided by kind, never by position or by name."""

from typing import Final

from acp_runtime.core.model import Permissions
from acp_runtime.core.request import Option, Questions, RequestKind

_ALLOW: Final = ("allow_once", "allow_always")
_REJECT: Final = ("reject_once", "reject_always")
KINDS: Final = frozenset((*_ALLOW, *_REJECT))
"""The kinds of options there are. What one of another kind does is unknown."""
FOR_THE_TASK: Final = KINDS - {"allow_always"}
"""Those that a model may choose: nothing of them widens what holds after its task."""


def choose(options: tuple[Option, ...], policy: Permissions) -> str | None:
    """Return the id of the option that the policy picks; None when it asks, or none of its kind was offered."""
    if policy is Permissions.ASK:
        return None
    return _first(options, _ALLOW if policy is Permissions.ALLOW else _REJECT)


def ruled(kind: RequestKind, options: tuple[Option, ...], permissions: Permissions, questions: Questions) -> str | None:
    """Return the id of the option by which the rules answer what an agent asks; None where somebody is to be asked."""
    if kind is RequestKind.PERMISSION:
        return choose(options, permissions)
    return reject(options) if questions is Questions.REFUSE else None


def reject(options: tuple[Option, ...]) -> str:
    """Return the id of the offered rejection, or `""` (the protocol's outcome `cancelled`) when there is none."""
    return _first(options, _REJECT) or ""


def _first(options: tuple[Option, ...], kinds: tuple[str, ...]) -> str | None:
    for kind in kinds:
        for option in options:
            if option.kind == kind:
                return option.id
    return None
