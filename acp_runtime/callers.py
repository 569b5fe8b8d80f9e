"""Who calls: a parent, by its name, or the operator.

A parent is a non-empty string that its door gives (client, workspace and the host's session id). It sees and changes
only its own subagents, and those below them. A subagent that leads others is a parent too, a `Leader`. The operator is
the person at the machine: sees and answers everything, and never consumes a parent's nudge or read cursor.
"""

from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import OPERATORS_OWN
from acp_runtime.core.lineage import PREFIX, name_of
from acp_runtime.core.plaintext import one_line


@dataclass(frozen=True, slots=True)
class Operator:
    """The person at the machine. There is one value: `OPERATOR`."""


OPERATOR: Final = Operator()
MAX_PARENT_CHARS: Final = 1_000

Caller: TypeAlias = str | Operator


class Leader(str):
    """A subagent as the parent of others. Made by who knows that it is that subagent, never from a text that came in.

    Equal to its name `subagent:ID`, which as a plain text is nobody's.
    """

    __slots__ = ("subagent",)

    subagent: str

    def __new__(cls, subagent: str) -> Self:
        self = super().__new__(cls, name_of(subagent))
        self.subagent = subagent
        return self


def parent_of(caller: Caller) -> str:
    """Return the parent to whom belongs what the caller makes. Raises what `admitted` does."""
    return OPERATORS_OWN if isinstance(caller, Operator) else admitted(caller)


def admitted(parent: str) -> str:
    """Return a parent that may come in at a door: one that has a name, and not the operator's.

    Raises `Rejected` (invalid).
    """
    if parent == OPERATORS_OWN:
        raise Rejected("invalid", f"{OPERATORS_OWN!r} is no name for a parent: it owns what the operator spawns")
    return named(parent)


def named(parent: str) -> str:
    """Return a parent that has a name: one of its own. Raises `Rejected` (invalid)."""
    if parent.startswith(PREFIX) and not isinstance(parent, Leader):
        raise Rejected("invalid", f"names that begin with {PREFIX!r} are those of subagents; use another")
    if len(parent) > MAX_PARENT_CHARS:
        sentence = f"the parent's name is {len(parent)} characters long; at most {MAX_PARENT_CHARS} are allowed"
        raise Rejected("invalid", sentence)
    if not one_line(parent, 2):
        raise Rejected("invalid", "the parent has no name; give one that is not blank")
    return parent


def word_of(caller: Caller, *, parent: bool = True) -> str:
    """Return who did it, in the words of the log: `operator`, `parent`, or `ancestor` for one further up."""
    if isinstance(caller, Operator):
        return "operator"
    return "parent" if parent else "ancestor"


def turning_parent(what: str, caller: Caller) -> str:
    """Return the parent whose turn or wake-up is meant. Raises `Rejected` (no_turns, invalid)."""
    if isinstance(caller, Operator):
        raise Rejected("no_turns", f"the operator has no turns; name the parent whose {what} is meant")
    return named(caller)


def owner_of(caller: Caller) -> str | None:
    """Return whose records are meant; None for all."""
    return None if isinstance(caller, Operator) else caller
