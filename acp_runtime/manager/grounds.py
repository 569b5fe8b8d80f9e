"""What the subagents of a store stand on, as it is at this moment: their gateway, and the relays of their sandboxes."""

import asyncio
from dataclasses import dataclass
from typing import Final

from acp_runtime.gateway.onlooker import Seen
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.health import unhealthy
from sandbox.spec import LABEL

__all__ = ["Grounds"]

SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Grounds:
    """`gateway` is None where none runs; `no_gateway` says why none could be had when one was last needed.

    `unhealthy` names subagents whose relay the engine found not to answer. `unknown` says why the engine could not be
    asked for those; it is a fact to look into, and nothing is ended for it.
    """

    gateway: Seen | None = None
    unhealthy: tuple[str, ...] = ()
    unknown: str = ""
    no_gateway: str = ""

    @classmethod
    async def of(cls, gateway: Seen | None, engine: Engine | None, store: str) -> "Grounds":
        """Ask the engine of a store's subagents; one that was never used has none of them. Raises nothing."""
        if engine is None:
            return cls(gateway)
        try:
            async with asyncio.timeout(SECONDS):
                found = await unhealthy(engine, {f"{LABEL}store": store, f"{LABEL}role": "agent"})
        except SandboxError as error:
            return cls(gateway, unknown=str(error))
        except TimeoutError:
            return cls(gateway, unknown=f"The engine has not said within {SECONDS:g} s which relays do not answer.")
        return cls(gateway, tuple(sorted({each[f"{LABEL}subagent"] for each in found})))
