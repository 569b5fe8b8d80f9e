"""What a caller can be told, as one tree with stable kinds.

    SubagentsError
    ├── Rejected           the caller asked for something that cannot be done now (kind says what)
    ├── StoreError         the event log could not be read or written
    │   ├── StoreOwned     another process owns the store
    │   ├── OtherLauncher  the store's agents are run by another kind of launcher
    │   ├── StoreFull      the disk has no room (`store.disk`)
    │   ├── StoreConflict  what is to be stored contradicts what is stored
    │   └── StoreTooNew    the store was written by a newer version
    └── IllegalTransition  a bug of ours: an event that the tables do not know in this state

`kind` is what programs branch on; the text is one sentence: what happened, which value, what to do next.
`Culprit` says whose move it is.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class Culprit(StrEnum):
    """Who can do something about an error."""

    CALLER = "caller"
    AGENT = "agent"
    ENVIRONMENT = "environment"
    US = "us"


class SubagentsError(Exception):
    """Root of the tree; never raised itself."""

    kind: str = "error"
    culprit: ClassVar[Culprit] = Culprit.US


class Rejected(SubagentsError):  # noqa: N818 - reads as what happened
    """A command of a caller that changes nothing, with the reason. `data` holds what a program may use beside it."""

    culprit = Culprit.CALLER

    def __init__(self, kind: str, sentence: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.data = dict(data or {})


class StoreError(SubagentsError):
    """The event log could not be read or written; nothing of the call was kept."""

    kind = "store_error"
    culprit = Culprit.ENVIRONMENT


class StoreOwned(StoreError):  # noqa: N818
    """Another living process owns this store."""

    kind = "store_owned"


class OtherLauncher(StoreError):  # noqa: N818
    """Open subagents of the store run where this owner would not look for them."""

    kind = "other_launcher"


class StoreConflict(StoreError):  # noqa: N818
    """What is to be stored contradicts what is stored: another writer moved the stream on. Trying again is no use."""

    kind = "store_conflict"
    culprit = Culprit.US


class StoreTooNew(StoreError):  # noqa: N818
    """The store's schema is newer than this program."""

    kind = "store_too_new"


class IllegalTransition(SubagentsError):  # noqa: N818
    """An event met a state in which the tables do not know it."""

    kind = "illegal_transition"
