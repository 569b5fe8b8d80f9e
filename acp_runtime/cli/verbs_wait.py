"""The verb `wait`: until subagents have done their tasks, one of them has, or anything changed."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.questions import question_lines
from acp_runtime.cli.stdout import put_json
from acp_runtime.cli.talk import Talk
from acp_runtime.core.plaintext import one_line

_CODES: Final = {
    "completed": Exit.DONE,
    "refused": Exit.REFUSED,
    "timed_out": Exit.TIMED_OUT,
    "interrupted": Exit.UNKNOWN,
}


def wait(options: argparse.Namespace) -> int:
    """Wait for subagents: until all have done their tasks, one has, or anything changed."""
    asking = Asking(options)
    subagents = [asking.find(each) for each in options.ids]
    mode = "first" if options.first else "any_change" if options.change else "all"
    waited = asking.wait(subagents, mode, options.timeout)
    if options.json:
        put_json(*waited["views"])
    elif not options.quiet:
        for view in waited["views"]:
            asks = ", and asks:" if view["requests"] else ""
            Talk().tell(f"{view['name']}: {view['status']}, {_newest(view)}{asks}")
            for line in question_lines(view):
                Talk().tell(line)
    if waited["reason"] == "timeout":
        return Exit.TIMED_OUT
    told_by = {"all": waited["views"], "first": [view for view in waited["views"] if _settled(view)]}
    return max(map(_code, told_by.get(mode, ())), default=Exit.DONE)


def _settled(view: Mapping[str, Any]) -> bool:
    return bool(view["requests"]) or (not view["queued"] and view["current_task"] is None)


def _newest(view: Mapping[str, Any]) -> str:
    """Say how its newest task stands, and of one that did not just succeed why."""
    task = view["tasks"][-1]
    good = task["state"] == "completed" and task["verdict"] in (None, "full")
    verdict = "" if task["verdict"] in (None, "full") else f" ({task['verdict']})"
    why = "" if good or not task["cause"] else f": {one_line(task['cause'], 400)}"
    return f"task {task['number']} {task['state'].replace('_', ' ')}{verdict}{why}"


def _code(view: Mapping[str, Any]) -> Exit:
    if view["requests"]:
        return Exit.NEEDS_ANSWER
    task = view["tasks"][-1]
    if task["state"] == "completed" and task["verdict"] != "full":
        return Exit.EMPTY
    return _CODES.get(task["state"], Exit.FAILED)
