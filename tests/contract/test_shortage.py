"""What runs out in one agent's sandbox is told of its task, with the limit and what raises it, and of nobody else's."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.model import TaskState
from acp_runtime.service import Runtime
from tests import engine
from tests.contract.conftest import PARENT, Place
from tests.contract.test_adoption import container, inside, killed

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.requirement("D09.21"),
]

EATER = "python3 -c 'held = bytearray(300 << 20); held[::4096] = held[::4096]'"
EAT = f"[[run:{EATER}]]"
# The kernel ends the agent first, not its child: any process may make one of its user the better victim.
EAT_AS_AGENT = f"[[run:echo 1000 >/proc/$PPID/oom_score_adj; {EATER}]]"
CROWD = """[[run:for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do sleep 60 & done]]"""
BROKE = "[[error:-32603|the work broke]]"
BROKEN = "the agent answered session/prompt with an error (code -32603): the work broke"
NO_MEMORY = (
    "because the sandbox had no memory left: its limit is 64 MiB, which `memory` of its preset or `--memory` raises"
)


async def test_what_ran_out_is_told_of_the_task_of_that_agent_and_of_no_other(place: Place) -> None:
    async with place.runtime() as runtime:

        async def spawn(task: str, **changes: object) -> str:
            return (await runtime.spawn(PARENT, place.request(task, memory=64, **changes))).id

        sibling = await spawn("[[say:fine]]")
        hungry, crowded = await asyncio.gather(spawn(f"{EAT}{BROKE}"), spawn(f"{CROWD}{BROKE}", pids=16))
        lived = (await place.ended(runtime, hungry)).newest
        assert (lived.state, lived.cause) == (TaskState.FAILED, f"{BROKEN}; a process was killed {NO_MEMORY}")
        refused = (await place.ended(runtime, crowded)).newest
        assert refused.state is TaskState.FAILED
        assert "refused because the sandbox had too many: its limit is 16 at one time, which `pids`" in refused.cause
        assert "memory" not in refused.cause

        await runtime.send(PARENT, hungry, "[[say:later]]")
        later = (await place.ended(runtime, hungry)).newest
        assert (later.state, later.cause) == (TaskState.COMPLETED, "the agent ended its turn"), "told once"
        await runtime.send(PARENT, hungry, f"{EAT}[[say:it was killed]]")
        went_on = (await place.ended(runtime, hungry)).newest
        assert went_on.cause == f"all 1 tool call(s) failed; a process was killed {NO_MEMORY}"
        await runtime.send(PARENT, hungry, EAT_AS_AGENT)
        died = await place.until(runtime, hungry, lambda view: view.tasks[-1].state is TaskState.INTERRUPTED)
        assert died.newest.cause.startswith("the agent was killed by signal 9: ")
        assert died.newest.cause.endswith(f" killed {NO_MEMORY}; the outcome is unknown")

        beside = (await place.ended(runtime, sibling)).newest
        assert (beside.state, beside.cause) == (TaskState.COMPLETED, "the agent ended its turn")


async def test_what_ran_out_and_was_told_is_not_told_again_by_another_manager(place: Place) -> None:
    subagent = await killed(place, f"{EAT}{BROKE}", ".", memory=64)
    async with place.runtime() as runtime:
        (task,) = (await place.ended(runtime, subagent)).tasks
        assert task.cause.endswith(f"a process was killed {NO_MEMORY}")
        await runtime.send(PARENT, subagent, "[[say:later]]")
        later = (await place.ended(runtime, subagent)).newest
        assert (later.state, later.cause) == (TaskState.COMPLETED, "the agent ended its turn")
        await runtime.send(PARENT, subagent, f"{EAT}{BROKE}")
        again = (await place.ended(runtime, subagent)).newest
        assert again.cause == f"{BROKEN}; a process was killed {NO_MEMORY}", "what is new is told"
        await runtime.send(PARENT, subagent, "[[say:begun]][[hang]]")
        await place.until(runtime, subagent, lambda view: "begun" in view.newest.result)
        engine.kill(container(place))
        died = await place.until(runtime, subagent, lambda view: view.tasks[-1].state is TaskState.INTERRUPTED)
        assert "memory" not in died.newest.cause, "the engine's word of an earlier one"


def block(socket: Path) -> None:
    socket.unlink()
    socket.mkdir()


async def trouble(place: Place, runtime: Runtime, met: Callable[[str], bool]) -> None:
    """Return once what is said of the want of a gateway is this."""
    async with asyncio.timeout(place.bound):
        while not met((await runtime.grounds(OPERATOR)).no_gateway):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.05)


@pytest.mark.requirement("D09.40")
async def test_a_task_that_ends_while_no_gateway_can_be_started_says_so_and_the_next_does_not(place: Place) -> None:
    """Its socket cannot be made: a folder is in its place."""
    async with place.runtime() as runtime:
        url = "http://127.0.0.1:9/v1"
        view = await runtime.spawn(PARENT, place.request("[[say:one]][[wait:go]]", model_url=url))
        await place.until(runtime, view.id, lambda each: each.current_task is not None)
        gateway = (await runtime.grounds(OPERATOR)).gateway
        assert gateway is not None
        assert gateway.pid is not None
        block(Path(gateway.socket))
        os.kill(gateway.pid, signal.SIGKILL)
        await trouble(place, runtime, lambda why: "could not be started" in why)
        inside(place, "touch go")
        cause = (await place.ended(runtime, view.id)).newest.cause
        assert "nothing that it sent out was carried: The gateway could not be started" in cause
        Path(gateway.socket).rmdir()  # noqa: ASYNC240 - one call
        await trouble(place, runtime, lambda why: not why)
        await runtime.send(PARENT, view.id, "[[say:two]]")
        assert "carried" not in (await place.ended(runtime, view.id)).newest.cause
