"""What subagents stand on, as those who ask may see it."""

from dataclasses import replace

from acp_runtime.callers import Caller, Operator
from acp_runtime.manager.grounds import Grounds
from acp_runtime.service.reached import Watchable


class Grounded(Watchable):
    """The part of a `Runtime` that tells of what is below its subagents."""

    async def grounds(self, caller: Caller) -> Grounds:
        """Return the gateway of this store, and which of the caller's subagents the engine found not to answer.

        The gateway is the operator's to see: it tells of all parents' subagents.
        """
        found = await self._supervisor.grounds()
        if isinstance(caller, Operator):
            return found
        own = await self._own(caller)
        unhealthy = tuple(each for each in found.unhealthy if each in own)
        return replace(found, gateway=None, no_gateway="", unhealthy=unhealthy)
