"""The verb `logs`: the transcript of a subagent, what its program wrote beside the protocol, or the daemon's own log.

Promises: with `-f` every line is out as soon as it is known, across a change of the daemon and of its log file.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from acp_runtime.cli.asking import OVER, Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import flush, put, put_json, write
from acp_runtime.cli.verbs_look import put_events
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import printable
from acp_runtime.places import environment, state_dir

FOLLOW_SECONDS: Final = 1.0
TAIL: Final = 8_192  # more than a task keeps of its agent's last words


def logs(options: argparse.Namespace) -> int:
    """Print what is there, and with `-f` what comes, until it ends."""
    if options.daemon:
        return _daemon_log(options)
    if options.id is None:
        raise Rejected("invalid", "name a subagent, or say --daemon")
    asking = Asking(options)
    subagent = asking.find(options.id)
    if options.agent:
        for text in _stderr(asking, subagent, follow=options.follow):
            put_json({"text": text}) if options.json else write(printable(text))
            flush()
        return Exit.DONE
    rows = asking.events(subagent, 0) if options.follow else _all(asking, subagent)
    if not options.json:
        put_events(rows, live=options.follow)
        return Exit.DONE
    for row in rows:
        put_json(row)
        if options.follow:
            flush()
    return Exit.DONE


def _all(asking: Asking, subagent: str) -> Iterator[dict[str, Any]]:
    since = 0
    while True:
        page = asking.call("poll", subagent=subagent, since=since)
        yield from page["rows"]
        if not page["unread"] or page["next_seq"] <= since:
            return
        since = page["next_seq"]


def _stderr(asking: Asking, subagent: str, *, follow: bool) -> Iterator[str]:
    """Yield what the agent wrote: what is held of it while it lives, and of its end what stands with its tasks."""
    cursor, said = 0, ""
    while True:
        over = asking.patient("status", subagent=subagent)["status"] in OVER
        found = asking.patient("stderr", subagent=subagent, since=cursor)
        cursor = found["cursor"]
        if found["text"]:
            said = (said + found["text"])[-TAIL:]
            yield found["text"]
        elif over or not (follow or said):
            yield from _of_tasks(asking.patient("status", subagent=subagent)["tasks"], said)
        if over or not follow:
            return
        time.sleep(FOLLOW_SECONDS)


def _of_tasks(tasks: list[dict[str, Any]], said: str) -> Iterator[str]:
    """Yield what stands with the tasks and was not said yet."""
    heard = printable(said).strip()
    tails = [task["stderr_tail"] for task in tasks if task["stderr_tail"]]
    for tail in tails[-1:] if heard else tails:
        most = min(len(tail), len(heard))
        known = next(size for size in range(most, -1, -1) if heard.endswith(tail[:size]))
        if known < len(tail):
            yield tail[known:] + "\n"


def _daemon_log(options: argparse.Namespace) -> int:
    path = Path(state_dir(environment())) / "daemon.log"
    try:
        for line in _lines(path, follow=options.follow):
            put_json({"line": line}) if options.json else put(line)
            if options.follow:
                flush()
    except FileNotFoundError as error:
        raise Rejected("invalid", f"there is no log at {path}: no daemon has been started here") from error
    except KeyboardInterrupt:
        return Exit.DONE
    return Exit.DONE


def _lines(path: Path, *, follow: bool) -> Iterator[str]:
    file = _opened(path)
    try:
        while True:
            while line := file.readline():
                yield line.rstrip("\n")
            if not follow:
                return
            if path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = _opened(path)
            else:
                time.sleep(FOLLOW_SECONDS)
    finally:
        file.close()


def _opened(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="replace")
