"""The tools that every subagent has inside of its sandbox: ask its parent, and report its result."""

from typing import Annotated, Final

from pydantic import Field, JsonValue, WithJsonSchema

from acp_runtime.tools import answers
from acp_runtime.tools.tool import Answer, Desk, Input, Tool


class AskInput(Input):
    question: str = ""
    choices: list[str] | None = Field(default=None, description="Answers to choose from; words are taken as well.")
    request_id: str | None = Field(default=None, description="Of a question that is open: wait on, instead of asking.")


class ReportInput(Input):
    result: Annotated[JsonValue, WithJsonSchema({"description": "JSON, of the shape that your task asks for."})]


async def ask_parent(desk: Desk, given: AskInput) -> Answer:
    """Ask, or wait on."""
    if desk.inside is None:
        return _outside()
    seconds = desk.bounded(float("inf")) if desk.longest_wait is not None else 40.0
    if given.request_id is not None:
        reply = await desk.inside.wait(given.request_id, seconds=seconds)
    else:
        reply = await desk.inside.ask(given.question, tuple(given.choices or ()), seconds=seconds)
    told: Answer = {"success": True, "request_id": reply.request_id}
    if reply.open:
        note = "It is open still. Go on with what does not depend on it, or call again with this request_id."
        return told | {"status": "open", "note": note}
    if not reply.words:
        return told | {"status": "closed", "note": "Nobody answers it. Decide for yourself and say what you assumed."}
    return told | {"status": "answered", "answer": reply.words, "by": reply.by}


async def report_result(desk: Desk, given: ReportInput) -> Answer:
    """Note the result."""
    if desk.inside is None:
        return _outside()
    await desk.inside.report(given.result)
    return {"success": True, "note": "Noted. Your task goes on until you end your turn; a later report replaces this."}


def _outside() -> Answer:
    return answers.failure("Only a subagent has this tool.", "unknown_tool")


INSIDE: Final = (
    Tool(
        "ask_parent",
        "Ask who gave you this task when you cannot decide something yourself and going on either way would be wrong. "
        "Waits a while for the answer.",
        AskInput,
        ask_parent,
        "execute",
        repeatable=True,
    ),
    Tool(
        "report_result",
        "Report the result of your task as JSON, when you are asked for one. The last report before you end counts.",
        ReportInput,
        report_result,
        "execute",
        repeatable=True,
    ),
)
