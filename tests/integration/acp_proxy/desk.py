"""An editor at a proxy whose agent is a parent, and the daemon that has its subagents."""

import json
from typing import Any, Final

from acp_runtime.sync import SyncRuntime
from tests.agents.raw_client import RawClient, stop_reason
from tests.e2e.daemon_site import BOUND, DaemonSite

CHANGES: Final = 50
CAPABILITIES: Final[dict[str, Any]] = {"session": {"notices": {}}}


class Desk:
    """One editor with an open session, and what there is of its subagents."""

    def __init__(self, site: DaemonSite, editor: RawClient, session: str = "", **capabilities: Any) -> None:
        self.site = site
        self.editor = editor
        if session:
            editor.call("initialize", {"protocolVersion": 1, "clientCapabilities": CAPABILITIES | capabilities})
            editor.session = session
            editor.messages.clear()
            editor.call("session/load", {"sessionId": session, "cwd": str(editor.cwd), "mcpServers": []})
            self.replayed = editor.updates()
        else:
            editor.open(CAPABILITIES | capabilities)
        assert stop_reason(editor.prompt("[[servers]]")) == "end_turn"
        self.parent = str(json.loads(editor.said())[-1]["args"][-1])

    def call(self, method: str, **arguments: Any) -> Any:
        """Ask the daemon as this session's tools would."""
        return self.site.client.call(method, self.parent, **arguments)

    def spawn(self, task: str, **more: Any) -> str:
        # The agent does what a prompt says, so the roster must not hold the task.
        request = {"agent": "scripted", "workspace": str(self.site.workspace), "task": task, "purpose": "to look"}
        return str(self.call("spawn", request=request | more)["id"])

    def done(self, task: str, **more: Any) -> str:
        """Have a subagent do a task."""
        subagent = self.spawn(task, **more)
        assert self.call("wait", subagents=[subagent], seconds=BOUND)["reason"] == "ended", self.site.log()
        return subagent

    def blocks(self, text: str = "[[blocks]]") -> list[str]:
        """Prompt, and return the texts of all blocks that the agent was given."""
        answer = self.editor.prompt(text)
        assert stop_reason(answer) == "end_turn", answer
        said = self.editor.said()
        found, _ = json.JSONDecoder().raw_decode(said, said.index("[{"))
        return [block["text"] for block in found]

    def until_said(self, part: str) -> str:
        """Return what the agent said, once that is in it."""
        self.editor.until(lambda _: part in self.editor.said())
        return self.editor.said()

    def states(self) -> list[str]:
        return [each["state"] for each in self.call("nudges")]

    def until_states(self, *wanted: str) -> None:
        """Wait until the nudges, newest first, have got so far."""
        with SyncRuntime.connect(self.site.socket) as runtime:
            for _ in range(CHANGES):
                tick = runtime.tick
                if self.states() == list(wanted):
                    return
                runtime.changed(tick)
        raise AssertionError(f"the nudges are {self.states()}")
