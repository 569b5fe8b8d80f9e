"""One event of a host, answered: `subagents hook EVENT --client NAME`.

Promises: exit code 0 whatever happens; an answer within the bound (`bound.py`), whole, or none; no daemon is started. A
host waits for its hooks, and takes another exit code for a refusal of its user's prompt.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acp_runtime.api.unix_client import UnixClient
from acp_runtime.core.errors import Rejected
from acp_runtime.hooks import bound
from acp_runtime.hooks.hosts import EVENTS, GOES_ON, HOSTS, Event, HookHost
from acp_runtime.hooks.memory import Memory, MemoryFile, mark_of
from acp_runtime.mcp.host import host_of
from acp_runtime.mcp.identity import parent_name, root_of
from acp_runtime.mcp.registry import Registry, Seeker

DOOR: Final = "hook"
MAX_INPUT: Final = 8 * 1024 * 1024
CHUNK: Final = 65_536


def run(words: Sequence[str], runtime_dir: Path) -> None:
    """Answer one event. Never raises. `bound.begin` was called for the same words."""
    try:
        asked = _asked(words)
        if asked is None:
            return
        answering = Answering(asked, runtime_dir)
        answer = answering.answer(_given())
        if answer is not None:
            bound.over()
            os.write(1, json.dumps(answer).encode() + b"\n")
            bound.begin(words)
        # Last: what nobody could hear must not be acknowledged by the next event.
        answering.remember()
    except Exception:  # noqa: BLE001, S110 - a session without its roster is better than one that fails
        pass


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says. `parent` adopts a parent by its name."""

    event: Event
    host: HookHost
    parent: str | None
    within: float = bound.BOUND


def _asked(words: Sequence[str]) -> Asked | None:
    """Return what is asked; None for words of another version. Raises `ValueError` for a bound that is no number."""
    options = dict(zip(words[1::2], words[2::2], strict=False))
    event = next((each for each in EVENTS if words[:1] == [each]), None)
    host = HOSTS.get(options.pop("--client", ""))
    parent = options.pop("--parent", None)
    options.pop("--within", None)
    return None if event is None or host is None or options else Asked(event, host, parent, bound.within(words))


def _given() -> Mapping[str, Any]:
    """Return what the host tells of the event. Raises `ValueError` where that is no object, or far too much."""
    told = bytearray()
    while chunk := os.read(0, CHUNK):
        told += chunk
        if len(told) > MAX_INPUT:
            raise ValueError("too much")
    given = json.loads(told)
    if not isinstance(given, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of mistake
    return given


class Answering:
    """One event for one session."""

    def __init__(self, asked: Asked, runtime_dir: Path) -> None:
        self._asked = asked
        self._runtime_dir = runtime_dir
        self._client = UnixClient(start=False, bound=asked.within)
        self._heard: tuple[MemoryFile, Memory] | None = None

    def answer(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what the host is answered, None for nothing. Raises what the daemon does."""
        parent = self._asked.parent or self._session(given)
        file = MemoryFile(self._runtime_dir, parent)
        memory = file.read()
        if self._asked.parent is None:
            with suppress(Rejected):  # a session that cannot be joined is told of its own
                self._join(parent, given, memory)
        match self._asked.event:
            case "prompt":
                told = self._prompt(parent, memory, str(given.get("prompt", "")))
            case "stop":
                told = self._stop(parent, memory)
            case _:
                told = None
                memory.shown = ""  # a model that begins anew, or after a summary, has nothing of it before it
                file.tidy()
        self._heard = file, memory
        return told

    def remember(self) -> None:
        """Keep for the next event that the host has the answer to this one."""
        if self._heard is not None:
            file, memory = self._heard
            file.write(memory)

    def _session(self, given: Mapping[str, Any]) -> str:
        return parent_name(self._asked.host.client, _folder(given), str(given["session_id"]))

    def _join(self, parent: str, given: Mapping[str, Any], memory: Memory) -> None:
        """Make the session one parent with the MCP server of its host, and with itself under its former id."""
        host = host_of(self._asked.host.client)
        if host is None:
            return
        seeker = Seeker(parent, self._asked.host.client, str(root_of(_folder(given))), host)
        registry = Registry(self._runtime_dir)
        if self._asked.event == "session" and given.get("source") in GOES_ON:
            former = registry.succeed(seeker)
            if former is not None and former != parent:
                self._client.call("alias", None, parent=former, alias=parent)
                memory.joined = ""
            return
        found = registry.claim(seeker)
        if found is not None and found not in (parent, memory.joined):
            self._client.call("alias", None, parent=parent, alias=found)
            memory.joined = found

    def _prompt(self, parent: str, memory: Memory, prompt: str) -> dict[str, Any] | None:
        """Tell the roster and what is due; nothing where the model was told just that.

        A host that has its model go on may give what we said as a prompt: that is no turn of its user.
        """
        self._acknowledge(memory)
        if prompt and mark_of(prompt) == memory.shown:
            return None
        turn = self._begin(parent, "user")
        seen, memory.shown = memory.shown, mark_of(turn["text"])
        if turn["nudges"]:
            memory.token = turn["token"]
        return self._asked.host.context(turn["text"]) if turn["text"] and memory.shown != seen else None

    def _stop(self, parent: str, memory: Memory) -> dict[str, Any] | None:
        """Have the model go on where something is due that would wake it; the loop guard is the daemon's."""
        self._acknowledge(memory)
        if not self._client.call("due", parent)["nudges"]:
            return None
        turn = self._begin(parent, "wake")
        if not turn["nudges"]:
            return None
        memory.token, memory.shown = turn["token"], mark_of(turn["text"])
        return self._asked.host.go_on(turn["text"])

    def _acknowledge(self, memory: Memory) -> None:
        """Acknowledge what the last event showed: the model has answered since, or has it before it."""
        if memory.token:
            with suppress(Rejected):  # it was deleted meanwhile, with all that it told
                self._client.call("commit_turn", None, token=memory.token)
            memory.token = ""

    def _begin(self, parent: str, origin: str) -> dict[str, Any]:
        turn: dict[str, Any] = self._client.call(
            "begin_turn", parent, door=DOOR, turn_id=os.urandom(8).hex(), origin=origin
        )
        return turn


def _folder(given: Mapping[str, Any]) -> Path:
    return Path(str(given.get("cwd") or "."))
