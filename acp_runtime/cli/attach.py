"""The verb `attach`: the live transcript of a subagent, and a person who types to it.

A line is a task, or with `--steer` a message for the running one. Ctrl-C cancels the running task; the end of the input
(Ctrl-D) leaves, and the agent goes on.
"""

import argparse
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import OutputError, flush, put
from acp_runtime.cli.talk import Talk
from acp_runtime.cli.verbs_look import put_events
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line, set_back

END_SECONDS: Final = 2.0
SEE_OUT_SECONDS: Final = 3600.0


class _Attached:
    """One person at one subagent: a thread shows, the main one takes what is typed."""

    def __init__(self, asking: Asking, view: dict[str, Any], *, steer: bool) -> None:
        self._asking = asking
        self._subagent: str = view["id"]
        self._since: int = view["seq"]
        self._mode = "steer" if steer else "queue"
        self._talk = Talk()
        self._shower = threading.Thread(target=self._show, daemon=True)
        self.ended = threading.Event()

    def run(self) -> int:
        signal.signal(signal.SIGINT, self._interrupted)
        self._shower.start()
        for line in sys.stdin:
            if self.ended.is_set():
                self._talk.tell("what was typed is not sent: nobody shows what becomes of it")
                return Exit.FAILED
            if line.strip():
                self._send(line.rstrip("\n"))
        if not sys.stdin.isatty():
            self._see_out()
        return Exit.DONE

    def _see_out(self) -> None:
        """Stay until what a script has sent is done, so that it is seen."""
        self._asking.wait([self._subagent], "all", SEE_OUT_SECONDS)
        self._shower.join(END_SECONDS)

    def _send(self, text: str) -> None:
        try:
            sent = self._asking.call("send", subagent=self._subagent, text=text, mode=self._mode)
        except (Rejected, DaemonError) as error:
            self._talk.tell(str(error))
        else:
            if sent["outcome"] != "dispatched":
                self._talk.tell(sent["sentence"])

    def _show(self) -> None:
        try:
            put_events(self._asking.events(self._subagent, self._since), live=True)
            self._talk.tell("the subagent has ended; Ctrl-D leaves")
        except (DaemonError, Rejected, OSError) as error:
            self._talk.tell(f"what it does cannot be followed any more: {error}")
        except OutputError as error:
            if not error.unread:
                self._talk.tell(str(error))
        finally:
            self.ended.set()

    def _interrupted(self, *_: object) -> None:
        self._talk.tell("cancelling the running task (Ctrl-D leaves)")
        threading.Thread(target=self._cancel, daemon=True).start()

    def _cancel(self) -> None:
        with suppress(Rejected, DaemonError):
            self._asking.call("cancel", subagent=self._subagent, cause="cancelled by a person")


def attach(options: argparse.Namespace) -> int:
    """Show what a subagent does, from what it said last, and take what is typed."""
    asking = Asking(options)
    view = asking.status(options.id)
    for task in view["tasks"][-1:]:
        put(f"[task {task['number']}, {task['state']}] {one_line(task['text'], 300)}")
        if task["result"]:
            put(set_back(task["result"]))
    flush()
    return _Attached(asking, view, steer=options.steer).run()
