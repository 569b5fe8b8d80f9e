"""Who hears what is carried: the pieces of one exchange after the other, and how it ended."""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

import h11

from acp_runtime.carrying.refusal import Refusal

__all__ = ["Ending", "How", "Observer"]

How = Literal["answered", "refused", "broken", "left", "cut"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an exchange ended. `status` is the answer's, None when the client was given none.

    `answered`: to its end, by the upstream; `refused`: by us; `broken`: the answer broke off; `left`: the client did
    not wait; `cut`: this side was ended. `why` is one sentence where something failed, `code` that of a refusal.
    """

    how: How
    status: int | None = None
    why: str | None = None
    code: str | None = None

    @classmethod
    def refused(cls, refusal: Refusal) -> Self:
        return cls("refused", refusal.status, refusal.sentence, refusal.code)

    @property
    def failed(self) -> bool:
        """Whether the client got no answer, or a bad one, for a reason that is not its own."""
        return self.how in ("refused", "broken") or (self.status or 0) >= 400


class Observer(Protocol):
    """Hears of exchanges. Each call returns at once and raises nothing; a body's pieces come in order.

    `on_end` comes exactly once for each `on_request`, last, and before the client can know that the answer is over.
    """

    def on_request(self, request: h11.Request) -> None:
        """Hear what the client asked for, in its own words."""
        ...

    def on_request_body(self, data: bytes) -> None:
        """Hear a piece that goes to the upstream."""
        ...

    def on_answer(self, head: h11.Response) -> None:
        """Hear the head of the upstream's answer as the client gets it."""
        ...

    def on_answer_body(self, data: bytes) -> None:
        """Hear a piece that goes to the client, which holds no secret of ours."""
        ...

    def on_end(self, ending: Ending) -> None:
        """Hear how it ended."""
        ...
