"""What a row of the table says, and what belongs together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of error. `meaning` is what happened, `cause` why, `remedy` what to do next."""

    kind: str
    meaning: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Area:
    """What belongs together. `where` says how its kinds reach a reader."""

    title: str
    where: str
    rows: tuple[Trouble, ...]
