"""What an agent says by its own tools: questions to its parent, and what its task came to. Pure.

A question is of the subagent, not of its task: its answer may come when the agent has ended its turn, and is then put
before its next prompt. An agent that was told the answer meanwhile is not told it again.
"""

from typing import Final

from acp_runtime.core.draft import Draft
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import AnswerTaken, ResultReported
from acp_runtime.core.form import WRITE_ANYTHING
from acp_runtime.core.inputs import AskParent, ReportResult, TakeAnswer
from acp_runtime.core.model import Lifecycle, Subagent, Task, TaskState
from acp_runtime.core.request import CHOICE, Option, Questions, RequestKind

__all__ = ["MOST_OPEN", "ask_parent", "known_question", "report_result", "take_answer"]

MOST_OPEN: Final = 8


def known_question(state: Subagent, given: AskParent) -> str | None:
    """Return the id of the question that is this one: it is open, or the agent was not told its answer yet."""
    asked = [each for each in state.open_requests if each.kind is RequestKind.ASK]
    known = [(each.id, each.title, tuple(option.name for option in each.options)) for each in asked]
    known += [(each.request_id, each.question, each.choices) for each in state.answers]
    return next((ident for ident, text, names in known if (text, names) == (given.text, given.choices)), None)


def ask_parent(draft: Draft, given: AskParent) -> None:
    """Open a question, unless it is known. Kinds: no_task, questions_refused, too_many_questions."""
    _at_work(draft, given.attempt)
    state = draft.state
    if state.order.questions is Questions.REFUSE:
        sentence = "Nobody takes your questions: decide for yourself, and say what you assumed."
        raise Rejected("questions_refused", sentence)
    if known_question(state, given) is not None:
        return
    mine = [each for each in state.open_requests if each.kind is RequestKind.ASK]
    if len(mine) >= MOST_OPEN:
        raise Rejected("too_many_questions", f"{len(mine)} of your questions are open; wait for an answer to one")
    options = tuple(Option(str(number), name, CHOICE) for number, name in enumerate(given.choices, 1))
    draft.ask(f"a{state.ask_count + 1}", RequestKind.ASK, given.text, options, writing=WRITE_ANYTHING)


def take_answer(draft: Draft, given: TakeAnswer) -> None:
    """Note that the agent has read an answer. Nothing where it had before, or has ended."""
    if not draft.state.lifecycle.over and any(each.request_id == given.request_id for each in draft.state.answers):
        draft.emit(AnswerTaken(at=draft.now, request_id=given.request_id))


def report_result(draft: Draft, given: ReportResult) -> None:
    """Note what the agent says that its task came to. Kinds: no_task."""
    task = _at_work(draft, given.attempt)
    if task.evidence.report != given.value:
        draft.emit(ResultReported(at=draft.now, task_id=task.id, value=given.value))


def _at_work(draft: Draft, attempt: int) -> Task:
    state, task = draft.state, draft.state.active
    at_work = state.lifecycle in (Lifecycle.READY, Lifecycle.LOST) and state.attempt == attempt
    if not at_work or task is None or task.state is not TaskState.RUNNING:
        raise Rejected("no_task", "you have no task under way, so nobody waits for this")
    return task
