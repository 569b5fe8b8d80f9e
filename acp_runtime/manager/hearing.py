"""Hears an agent: what it says and asks goes to its actor, as observations of its attempt."""

import json
from collections.abc import Callable

from acp_runtime.core.ids import request_id
from acp_runtime.core.inputs import Asked, ChannelClosed, Heard
from acp_runtime.core.transcript import Entry
from acp_runtime.manager.recovery import output_from
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.session.observer import Observer, Place
from acp_runtime.session.questions import Question

__all__ = ["observer_of"]


def observer_of(around: Surroundings, attempt: int, closed: Callable[[str], None]) -> Observer:
    """Return what hears the session of an attempt; `closed` is told when its agent ends it."""

    async def heard(entries: tuple[Entry, ...], place: Place) -> int:
        await around.store(Heard(attempt, entries, *place))
        return output_from(around.state())

    def asked(before: tuple[Entry, ...], place: Place, question: Question) -> None:
        if before:
            around.tell(Heard(attempt, before, *place))
        ident, wire = request_id(attempt, question.number), json.dumps(question.wire)
        around.tell(
            Asked(
                attempt,
                ident,
                question.title,
                question.options,
                wire,
                question.upto,
                question.kind,
                question.fields,
            )
        )

    return Observer(
        heard=heard,
        asked=asked,
        lost=lambda reason: around.tell(ChannelClosed(attempt, reason)),
        closed=closed,
    )
