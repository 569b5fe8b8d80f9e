"""What the eight tools of the default set take. Models read the descriptions: they say only what names leave open."""

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from acp_runtime.service.bounds import MAX_CURSOR
from acp_runtime.tools.tool import Input

MAX_MORE: Final = 999  # how many there may really be is the operator's setting
MAX_WAITED: Final = 100

# A model needs no telling where the numbers end.
Cursor = Annotated[int, Field(ge=0, le=MAX_CURSOR), WithJsonSchema({"type": "integer", "minimum": 0})]
Shape = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object"})]


class TaskInput(Input):
    """One subagent to start; what is not given is the operator's setting."""

    purpose: str
    initial_task: str
    cwd: str
    agent_kind: str | None = None
    model: str | None = None
    preset: str | None = None
    one_shot: bool = False
    role: str | None = None
    result_schema: Shape | None = None


class SpawnInput(TaskInput):
    purpose: str = Field(description="Why it exists, in a few words.")
    initial_task: str = Field(description="Complete: it sees nothing of this conversation.")
    cwd: str = Field(description="/workspace or a folder below it.")
    one_shot: bool = Field(default=False, description="End after this task and write the result to a file.")
    role: str | None = Field(default=None, description="orchestrator: may have subagents of its own. Default: leaf.")
    result_schema: Shape | None = Field(default=None, description="JSON schema of the result it is to report.")
    tasks: Annotated[list[TaskInput], Field(max_length=MAX_MORE)] | None = Field(
        default=None, description="More subagents to start in this call."
    )


class ListInput(Input):
    tree: bool = Field(default=False, description="Also those below yours.")


class IdInput(Input):
    id: str


class SendInput(IdInput):
    message: str
    mode: Literal["queue", "steer"] = Field(
        default="queue", description="queue: its next task. steer: into the running one, if its agent takes that."
    )


class PollInput(IdInput):
    since_seq: Cursor | None = Field(default=None, description="Replay what follows this seq; 0: all.")


class StatusInput(IdInput):
    result_offset: Cursor = Field(default=0, description="Where to go on in a long result.")


class StopInput(IdInput):
    reason: str | None = None
    scope: Literal["agent", "task"] = Field(default="agent", description="task: cancel only its current task.")


class WaitInput(Input):
    ids: Annotated[list[str], Field(max_length=MAX_WAITED)] | None = Field(
        default=None, description="Default: all that work."
    )
    mode: Literal["first", "all", "any_change"] = "first"
    timeout: float = Field(default=30.0, ge=0, allow_inf_nan=False, description="Seconds, at most 40.")
    since_seq: Cursor | None = Field(default=None, description="next_seq of your last wait.")


class AnswerInput(IdInput):
    request_id: str
    option_id: str = ""
    text: str = Field(default="", description="Instead of an option, where it takes one.")
