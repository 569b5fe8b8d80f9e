"""What goes with the delivery of a prompt: its text, what it changed, and the word for why it failed."""

import asyncio
import logging
from typing import Final

from acp_runtime.core.model import Subagent
from acp_runtime.manager.launcher import Launched, LaunchError
from acp_runtime.session.errors import LoginNeededError, SessionClosedError

log = logging.getLogger(__name__)

MEASURE_SECONDS: Final = 30.0


def prompt_of(state: Subagent, task_id: str) -> tuple[str, dict[str, str]]:
    """Return the text of a task's prompt with the note before it, and what goes along for the agent's own log."""
    task = state.task(task_id)
    words = [each for each in ((task.note, task.text) if task is not None else ()) if each]
    source = "spawn" if task is not None and task.number == 1 else "send"
    return "\n\n".join(words), {"purpose": state.purpose, "subagentId": state.id, "source": source}


async def changed_files(launched: Launched | None) -> int | None:
    """Count the changed files. Whatever goes wrong here must not cost the task its result."""
    if launched is None:
        return None
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            return await launched.changed_files()
    except (LaunchError, TimeoutError) as error:
        log.warning("the changed files could not be counted: %s", error)
    except Exception:
        log.exception("the changed files could not be counted")
    return None


def kind_of(error: Exception) -> str:
    """Return the stable word for what went wrong with a start."""
    if isinstance(error, LaunchError):
        return error.kind
    if isinstance(error, SessionClosedError):
        return "agent_exited"
    return "login_needed" if isinstance(error, LoginNeededError) else "protocol_error"
