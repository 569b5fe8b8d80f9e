"""What a subagent of a tree is told of its place, and the envelope round its tasks: text, and nothing but text.

Who may spawn is decided by the connection, and a task is over when the protocol says so: a header or a footer that an
agent writes does nothing.
"""

from typing import Final

from acp_runtime.core.ids import display_name
from acp_runtime.core.lineage import Lineage, leader_of

_LEADS: Final = """\
## Subagent Spawning (Orchestrator Role)
You may have subagents of your own work for you: spawn_background_subagent starts one with a complete task.
When: parts of your task that can go on side by side, that need a fresh view, or that would fill your context.
When not: what you can do at once, what has to be done step by step, or to pass your whole task on.
You may end your turn while they work: you are prompted when they are done. Join what they found in your last answer."""
_LOWEST: Final = "Your own subagents will be leaves: they cannot spawn any."
_LEAF: Final = "You are a leaf: you cannot spawn subagents."


def briefing(lineage: Lineage) -> str:
    """Return what stands before the first task, with the true numbers; empty for a leaf of an outer parent."""
    if not lineage.leads and lineage.depth == 1:
        return ""
    deepest = lineage.deepest
    note = f"NOTE: You are at depth {lineage.depth}. The delegation tree is capped at max_spawn_depth={deepest}."
    if not lineage.leads:
        return f"{note} {_LEAF}"
    return "\n".join((_LEADS, note, *((_LOWEST,) if lineage.depth + 1 >= deepest else ())))


def enveloped(task: str, *, subagent: str, parent: str, lineage: Lineage) -> str:
    """Return a task as a subagent's subagent gets it, with the id that its parent knows; any other as it is."""
    leader = leader_of(parent)
    if leader is None:
        return task
    allowed = "ALLOWED" if lineage.leads else "NOT ALLOWED"
    return (
        f"<DELEGATED from profile {display_name(leader)} | delegate_task {allowed}>\n\nYOUR TASK:\n{task}\n\n"
        f"Summary: what you did, found, created, issues.\nEnd with <TASK {subagent} COMPLETED>."
    )
