"""What the hands of an actor work with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from acp_runtime.core.inputs import Observation, StopSubagent
from acp_runtime.core.model import Subagent
from acp_runtime.manager.launcher import Launcher, LaunchRequest
from acp_runtime.manager.leading import Leading


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a performer works with. `tell` queues an observation, or a stop of the manager's own.

    `store` queues an observation and returns when it is durable. `settled` returns when the calls of models that are
    over by now are booked. `state` gives the subagent as it is now; `request` what to launch as this attempt.
    """

    launcher: Launcher
    request: Callable[[int], LaunchRequest]
    state: Callable[[], Subagent]
    tell: Callable[[Observation | StopSubagent], None]
    store: Callable[[Observation], Awaitable[object]]
    settled: Callable[[], Awaitable[None]]
    lead: Leading
    epoch: int
    version: str
