"""The command of this project with points at which its manager stops itself when the driver of a storm asks for it.

POINTS=FOLDER python -m tests.faults.storm.pointed_daemon serve ...

KIND               an event of that kind is committed, and nothing that follows from it has begun
before:KIND        it is decided, and not committed
volume-made        a volume is there, and its container is not
helper-made        so is the container that gives the volumes to the agent
container-made     the agent's container is there, and does not run
container-started  it runs, and there is no holder in it
holder-started     the holder runs with its agent, and nobody is attached
attached           the manager is attached to an agent that it has just started
attached-again     it is attached to one that ran before
prompt-written     the holder has the line of a prompt, and nobody waits for the answer yet
answer-written     the holder has the answer to a question
acknowledged       the holder was told what it may forget
leader-told        what is new for one that leads others is claimed, for its prompt or an answer of its tools
container-removed  an agent's container is gone, and the log does not know
"""

import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from acp_runtime.cli.main import main
from acp_runtime.core.events import Event
from acp_runtime.core.lineage import leader_of
from acp_runtime.manager.actor import Actor
from acp_runtime.store.codec import kind_of
from acp_runtime.store.store import Store
from sandbox.engine import Engine
from sandbox.hold import Hold
from sandbox.holder.channel import HeldChannel
from sandbox.spec import LABEL
from tests.faults.storm.journal_disk import create_on_disk
from tests.faults.storm.points import ARMED, CLAIMED, MET

FOLDER = Path(os.environ["POINTS"])
PROMPT, ANSWER = b'"session/prompt"', b'"outcome"'

Verb = Callable[..., Awaitable[Any]]
subagent: ContextVar[str] = ContextVar("subagent", default="")
starting: ContextVar[bool] = ContextVar("starting", default=False)
agents: set[str] = set()  # containers of agents that this manager made
others: set[str] = set()  # containers of other roles


def reached(*names: str) -> None:
    """Stop this process where the driver waits for one of these points, until somebody lets it go on."""
    with suppress(FileNotFoundError):
        armed = (FOLDER / ARMED).read_text().split("\n")
        point = next((name for name in names if name in armed), None)
        if point is None:
            return
        (FOLDER / ARMED).rename(FOLDER / CLAIMED)
        told = FOLDER / f"{MET}.new"
        told.write_text(json.dumps({"point": point, "manager": os.getpid(), "subagent": subagent.get()}))
        told.rename(FOLDER / MET)
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def around(owner: type, verb: str) -> Callable[[Callable[..., Awaitable[Any]]], None]:
    """Have a function called in the place of a method, with the method as its first argument."""

    def put(outer: Callable[..., Awaitable[Any]]) -> None:
        inner: Verb = getattr(owner, verb)

        @functools.wraps(inner)
        async def both(*arguments: Any, **named: Any) -> Any:
            return await outer(inner, *arguments, **named)

        setattr(owner, verb, both)

    return put


@around(Actor, "run")
async def run(inner: Verb, self: Actor, *arguments: Any) -> None:
    subagent.set(self.state.id)
    await inner(self, *arguments)


@around(Store, "commit")
async def commit(inner: Verb, self: Store, stream: str, *rest: Any, **named: Any) -> Any:
    events: Sequence[Event] = rest[2]
    kinds = [kind_of(type(each)) for each in events]
    reached(*(f"before:{kind}" for kind in kinds))
    committed = await inner(self, stream, *rest, **named)
    about = subagent.set(stream)  # others than its actor commit too
    reached(*kinds)
    subagent.reset(about)
    return committed


@around(Store, "begin_turn")
async def begin_turn(inner: Verb, self: Store, parent: str, *arguments: Any, **named: Any) -> Any:
    begun = await inner(self, parent, *arguments, **named)
    leader = leader_of(parent)
    about = subagent.set(leader or subagent.get())
    reached("turn_begun", "leader-told" if leader and begun.nudges else "")
    subagent.reset(about)
    return begun


@around(Store, "commit_turn")
async def commit_turn(inner: Verb, *arguments: Any, **named: Any) -> None:
    await inner(*arguments, **named)
    reached("turn_committed")


@around(Engine, "create_volume")
async def create_volume(inner: Verb, self: Engine, name: str, labels: Mapping[str, str]) -> None:
    if (disk := os.environ.get("JOURNALS")) and name.endswith("-journal"):
        await create_on_disk(self, name, labels, Path(disk))
    else:
        await inner(self, name, labels)
    if subagent.get():
        reached("volume-made")


@around(Engine, "create_container")
async def create_container(inner: Verb, self: Engine, name: str, settings: Any, **named: Any) -> Any:
    made = await inner(self, name, settings, **named)
    is_agent = settings["labels"].get(f"{LABEL}role") == "agent"
    (agents if is_agent else others).add(made)
    reached("container-made" if is_agent else "helper-made" if name.endswith("-owner") else "")
    return made


@around(Engine, "start_container")
async def start_container(inner: Verb, self: Engine, container: str) -> None:
    await inner(self, container)
    if container in agents:
        reached("container-started")


@around(Engine, "remove_container")
async def remove_container(inner: Verb, self: Engine, container: str) -> Any:
    removed = await inner(self, container)
    if removed and subagent.get() and container not in others:
        reached("container-removed")
    return removed


@around(Hold, "start")
async def start(inner: Verb, *arguments: Any, **named: Any) -> Any:
    started = await inner(*arguments, **named)
    reached("holder-started")
    starting.set(True)
    return started


@around(HeldChannel, "attach")
async def attach(inner: Verb, *arguments: Any) -> Any:
    reached("" if starting.get() else "attaching-again")
    state = await inner(*arguments)
    reached("attached" if starting.get() else "attached-again")
    return state


@around(HeldChannel, "send")
async def send(inner: Verb, self: HeldChannel, data: bytes) -> None:
    await inner(self, data)
    reached("prompt-written" if PROMPT in data else "answer-written" if ANSWER in data else "")


@around(HeldChannel, "acknowledge")
async def acknowledge(inner: Verb, *arguments: Any) -> None:
    await inner(*arguments)
    reached("acknowledged")


if __name__ == "__main__":
    sys.exit(main())
