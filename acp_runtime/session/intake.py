"""How far what an agent wrote has been taken in, how far that is stored, and how far it is given up below."""

from typing import Final

from acp_runtime.core.transcript import PASSED_OVER, OtherEntry
from acp_runtime.session.observer import Place
from acp_runtime.wire.jsontext import compact

OVERDUE_BYTES: Final = 262_144


class Intake:
    """Offsets in the agent's stdout.

    `kept`: it is kept for us until it is acknowledged. `read` is behind the last line that was taken in, `known`
    behind what an earlier manager stored, `answer_at` before an answer that is not stored yet, `acknowledged` behind
    what is given up below. `flushed` is the place of which nothing waited to be told when it was reached.
    """

    def __init__(self) -> None:
        self.kept = False
        self.read = self.known = self.acknowledged = 0
        self.answer_at: int | None = None
        self.flushed = Place()

    def take_over(self, place: Place) -> None:
        """Go on where an earlier manager ended."""
        self.kept, self.known = True, place.upto
        self.read = self.acknowledged = place.start

    @property
    def place(self) -> Place:
        """How far what the agent wrote has been taken in; nowhere when it is not kept for us."""
        return Place(self.read, self.answer_at) if self.kept else Place()

    @property
    def overdue(self) -> bool:
        """Whether so much is held below that is of no use any more that it is to be acknowledged soon."""
        return self.place.start - self.acknowledged >= OVERDUE_BYTES

    def passed_over(self, stored: int) -> tuple[OtherEntry, ...]:
        """Return the entry by which the log learns of much that became no entry, behind the offset it knows of."""
        count = self.place.start - stored
        return (OtherEntry(PASSED_OVER, compact({"bytes": count})),) if count >= OVERDUE_BYTES else ()
