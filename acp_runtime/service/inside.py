"""What one subagent's own tools do: ask its parent, wait for the answer, and report its result."""

import asyncio
import json
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.asking import known_question
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import AskParent, ReportResult, TakeAnswer
from acp_runtime.core.model import Subagent
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.request import RequestKind
from acp_runtime.manager.leading import Answered
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.service.results import checked
from acp_runtime.store.codec import storable
from acp_runtime.store.store import Store

__all__ = ["Inside", "Reply"]

MOST_QUESTION: Final = 2_000
MOST_CHOICES: Final = 16
MOST_CHOICE: Final = 200
_REQUEST: Final = "SELECT answer, answered_by, text, options, closed_seq FROM request WHERE subagent = ? AND id = ?"


@dataclass(frozen=True, slots=True)
class Reply:
    """How a question stands. `words` is the answer, empty while it is `open`, and where nobody gave one."""

    request_id: str
    open: bool
    words: str = ""
    by: str = ""


class Inside:
    """Of one attempt of a subagent. Its state is given by the supervisor, and only while it has an actor.

    `checking` is held while a result is compared with its shape: one of a subagent at one time.
    """

    def __init__(
        self, store: Store, supervisor: Supervisor, subagent: str, attempt: int, checking: asyncio.Lock
    ) -> None:
        self._checking = checking
        self._store = store
        self._supervisor = supervisor
        self._subagent = subagent
        self._attempt = attempt

    @property
    def state(self) -> Subagent | None:
        """The subagent as it is now, None once it has ended."""
        actor = self._supervisor.actor(self._subagent)
        return None if actor is None else actor.state

    def telling(self, answered: Answered) -> AbstractContextManager[None]:
        """Have what its tools told it acknowledged, inside the block, once it has answered its prompt uncancelled."""
        return self._supervisor.leading.telling(self._subagent, answered)

    async def ask(self, text: str, choices: tuple[str, ...], *, seconds: float) -> Reply:
        """Ask the parent, and wait for the answer. Asking what is asked already waits on, or gives the answer.

        Raises `Rejected` (invalid, no_task, questions_refused, too_many_questions, not_running).
        """
        question = AskParent(self._attempt, _bounded("question", text, MOST_QUESTION), _choices(choices))
        await self._supervisor.ask(self._subagent, question)
        asked = known_question(self.state, question) if self.state is not None else None
        if asked is None:
            raise Rejected("no_task", "the question was closed at once: your task is over")
        return await self.wait(asked, seconds=seconds)

    async def wait(self, request_id: str, *, seconds: float) -> Reply:
        """Wait for the answer to a question of before; see `read`. Raises `Rejected` (unknown_request)."""
        tick = self._store.tick
        reply = await self._look(request_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while reply.open:
                    await self._store.changed(tick)
                    tick = self._store.tick
                    reply = await self._look(request_id)
        return reply

    async def read(self, request_id: str) -> None:
        """Note that the agent has read an answer. Until then it is to be told: by a call, else before a prompt."""
        with suppress(Rejected):  # it has ended meanwhile: nobody is told anything any more
            await self._supervisor.ask(self._subagent, TakeAnswer(request_id))

    async def report(self, value: object) -> None:
        """Note the result of the task. Raises `Rejected` (result_invalid, no_task, not_running)."""
        state = self.state
        schema = state.order.result_schema if state is not None else ""
        async with self._checking:  # it costs a process
            text = await checked(schema, value)
        await self._supervisor.ask(self._subagent, ReportResult(self._attempt, text))

    async def _look(self, request_id: str) -> Reply:
        rows = await self._store.query(f"{_REQUEST} AND kind = '{RequestKind.ASK}'", self._subagent, request_id)
        if not rows:
            shown = one_line(request_id, 40)
            raise Rejected("unknown_request", f"you have asked no question {shown!r}; ask it without an id")
        row = rows[0]
        names = {each["id"]: each["name"] for each in json.loads(row["options"])}
        words = row["text"] or names.get(row["answer"], "")
        return Reply(request_id, row["closed_seq"] is None, words, row["answered_by"] or "")


def _bounded(name: str, text: str, most: int) -> str:
    if not one_line(text, 2):
        raise Rejected("invalid", f"{name} is blank")
    if len(text) > most:
        raise Rejected("invalid", f"{name} is {len(text)} characters long; at most {most} are asked")
    return one_line(storable(text), most)


def _choices(given: tuple[str, ...]) -> tuple[str, ...]:
    if len(given) > MOST_CHOICES:
        raise Rejected("invalid", f"{len(given)} choices are offered; at most {MOST_CHOICES} are shown")
    found = tuple(_bounded("a choice", each, MOST_CHOICE) for each in given)
    if len(set(found)) != len(found):
        raise Rejected("invalid", "a choice is offered twice")
    return found
