"""Verbs that wait and follow: wait, logs."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from acp_runtime.cli.asking import Asking, put, put_json
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.talk import Talk
from acp_runtime.cli.verbs_look import event_line
from acp_runtime.core.errors import Rejected
from acp_runtime.places import environment, state_dir

SLICE_SECONDS: Final = 40.0
FOLLOW_SECONDS: Final = 1.0
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
    waited = _wait(asking, subagents, mode, options.timeout)
    if options.json:
        put_json(*waited["views"])
    elif not options.quiet:
        for view in waited["views"]:
            Talk().tell(f"{view['name']}: {view['status']}, {_newest(view)}")
    if waited["reason"] == "timeout":
        return Exit.TIMED_OUT
    return max(_code(view) for view in waited["views"]) if mode == "all" else Exit.DONE


def _wait(asking: Asking, subagents: list[str], mode: str, seconds: float) -> dict[str, Any]:
    """Ask in slices, so that no connection is silent for long."""
    since: dict[str, int] = {}
    while True:
        part = min(seconds, SLICE_SECONDS)
        waited: dict[str, Any] = asking.call("wait", subagents=subagents, mode=mode, seconds=part, **since)
        seconds -= part
        if waited["reason"] != "timeout" or seconds <= 0:
            return waited
        since = {"since": waited["seq"]} if mode == "any_change" else {}


def _newest(view: Mapping[str, Any]) -> str:
    task = view["tasks"][-1]
    return f"task {task['number']} {task['state'].replace('_', ' ')}"


def _code(view: Mapping[str, Any]) -> Exit:
    if view["requests"]:
        return Exit.NEEDS_ANSWER
    task = view["tasks"][-1]
    if task["state"] == "completed" and task["verdict"] != "full":
        return Exit.EMPTY
    return _CODES.get(task["state"], Exit.FAILED)


def logs(options: argparse.Namespace) -> int:
    """Print the transcript of a subagent, what its program wrote beside the protocol, or the daemon's log."""
    if options.daemon:
        return _daemon_log(options)
    if options.id is None:
        raise Rejected("invalid", "name a subagent, or say --daemon")
    asking = Asking(options)
    view = asking.status(options.id)
    if options.agent:
        for task in view["tasks"]:
            if task["stderr_tail"]:
                put(task["stderr_tail"])
        return Exit.DONE
    for row in asking.events(view["id"], 0) if options.follow else _all(asking, view["id"]):
        if options.json:
            put_json(row)
        else:
            put(event_line(row))
    return Exit.DONE


def _all(asking: Asking, subagent: str) -> Iterator[dict[str, Any]]:
    since = 0
    while True:
        page = asking.call("poll", subagent=subagent, since=since)
        yield from page["rows"]
        if not page["unread"] or page["next_seq"] <= since:
            return
        since = page["next_seq"]


def _daemon_log(options: argparse.Namespace) -> int:
    path = Path(state_dir(environment())) / "daemon.log"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            _copy(file, follow=options.follow)
    except FileNotFoundError as error:
        raise Rejected("invalid", f"there is no log at {path}: no daemon has been started here") from error
    except KeyboardInterrupt:
        return Exit.DONE
    return Exit.DONE


def _copy(file: Any, *, follow: bool) -> None:
    import time  # noqa: PLC0415 - only a follower waits

    while True:
        while line := file.readline():
            put(line.rstrip("\n"))
        if not follow:
            return
        time.sleep(FOLLOW_SECONDS)
