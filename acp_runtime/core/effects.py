"""Instructions to the shell. An effect is named by its fields: performing it twice does no more than once.

Effects are not chosen by hand: they are what a state calls for (`outstanding`). The shell performs those that the new
state calls for and the old one did not, and after a start of the manager all of them.
"""

from dataclasses import dataclass


class Effect:
    """Base of instructions."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Launch(Effect):
    """Make the sandbox, start the agent and open its session; report each step.

    What an earlier attempt left running is ended first. A later attempt goes on in the kept home and work, and in the
    session of the one before where the agent can.
    """

    attempt: int


@dataclass(frozen=True, slots=True)
class Prompt(Effect):
    """Deliver the task's text as one `session/prompt`, for the n-th time (`delivery`); report its answer."""

    attempt: int
    task_id: str
    delivery: int = 1


@dataclass(frozen=True, slots=True)
class Cancel(Effect):
    """Send `session/cancel` once."""

    attempt: int
    task_id: str


@dataclass(frozen=True, slots=True)
class Answer(Effect):
    """Answer the agent's request with one of the options it offered, or with `cancelled` when empty.

    `content`: what that fills its form with, as JSON.
    """

    attempt: int
    request_id: str
    option_id: str
    content: str = ""


@dataclass(frozen=True, slots=True)
class Steer(Effect):
    """Hand a message to the running task; report what became of it."""

    attempt: int
    steer_id: str


@dataclass(frozen=True, slots=True)
class Permit(Effect):
    """Have the sandbox reach what its order allows and what these rules do, and use what its budget allows; no more.

    Before the next prompt: what was allowed for one task is not for the next. `period` is the budget's.
    """

    attempt: int
    rules: tuple[str, ...]
    period: int = 0


@dataclass(frozen=True, slots=True)
class Inspect(Effect):
    """Find out whether the agent is dead; report `DeathProven` when it is."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Disband(Effect):
    """Cancel what the agent works on and end all subagents that it leads, the deepest first; report `SubtreeOver`."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Halt(Effect):
    """End the agent, export its work and remove its sandbox, and unless it is kept all else; report `Halted`."""

    attempt: int
