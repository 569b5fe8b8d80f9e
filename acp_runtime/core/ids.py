"""Identifiers: how each is made, so that the same fact always gets the same id.

Randomness is never drawn here: who creates a subagent passes entropy in. Everything else is derived.
"""

import hashlib
from typing import Final

# What the operator spawns belongs to this parent: an owner there must be.
OPERATORS_OWN: Final = "operator"
LEFT: Final = (
    "amber", "aster", "cedar", "cinder", "ember", "harbor", "hollow", "lumen",
    "marble", "meadow", "morrow", "river", "sable", "sierra", "silver", "solar",
)  # fmt: skip
RIGHT: Final = (
    "badger", "falcon", "finch", "fox", "heron", "ibis", "lynx", "otter",
    "owl", "panda", "raven", "robin", "starling", "stoat", "swift", "wolf",
)  # fmt: skip


def subagent_id(entropy: bytes) -> str:
    """Return `bg-` and ten hexadecimal digits; `entropy` must hold at least five random bytes."""
    if len(entropy) < 5:
        msg = f"a subagent id needs 5 bytes of entropy, got {len(entropy)}"
        raise ValueError(msg)
    return f"bg-{entropy[:5].hex()}"


def display_name(subagent: str) -> str:
    """Return the readable name of a subagent: a function of its id, for people only (256 names, so not unique)."""
    digest = hashlib.sha256(subagent.encode()).digest()
    return f"{LEFT[digest[0] % len(LEFT)]}-{RIGHT[digest[1] % len(RIGHT)]}"


def task_id(subagent: str, number: int) -> str:
    """Return the id of the n-th task of a subagent, counted from 1."""
    return f"{subagent}.t{number}"


def request_id(attempt: int, number: int) -> str:
    """Return the id of the n-th request of an agent, counted from 1 in each attempt."""
    return f"{attempt}-{number}"


def request_number(ident: str) -> int:
    """Return the number within its attempt of a request's id, 0 for an id that has none."""
    digits = ident.rpartition("-")[2]
    return int(digits) if digits.isdecimal() and digits.isascii() else 0


def nudge_id(kind: str, subject: str) -> str:
    """Return the id of the one nudge that tells this fact: the same fact can never be told under two ids."""
    return "n-" + hashlib.sha256(f"{kind}\0{subject}".encode()).hexdigest()[:16]


def turn_token(parent: str, turn_id: str) -> str:
    """Return the durable token of a parent's turn; beginning the same turn again gives the same token."""
    # Both come from hosts: the length keeps the border between them, and lone surrogates must not fail here.
    subject = f"{len(parent)}\0{parent}\0{turn_id}".encode("utf-8", "surrogatepass")
    return "turn-" + hashlib.sha256(subject).hexdigest()[:24]
