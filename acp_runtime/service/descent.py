"""What a subagent may ask for when it spawns: nothing that it does not have itself. Who asks decides, no text."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acp_runtime.callers import Caller, Leader, parent_of
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Lineage, chain, descend
from acp_runtime.core.model import Subagent
from acp_runtime.core.plaintext import one_line
from acp_runtime.presets import NO_EGRESS, Network, Preset

if TYPE_CHECKING:
    from acp_runtime.service.order import SpawnRequest

__all__ = ["as_led", "lineage", "own_preset"]

_FIXED: Final = ("image", "model_url", "model_key")


def lineage(config: Config, caller: Caller, leader: Subagent | None, role: str) -> Lineage:
    """Return the place in the tree of what a caller spawns; `leader` is the living caller where that is a subagent.

    Raises `Rejected`: depth_limit, not_an_orchestrator, and parent_ended for a subagent that has ended itself.
    """
    parent = parent_of(caller)
    if leader is None:
        if isinstance(caller, Leader):
            raise Rejected("parent_ended", f"{caller.subagent} has ended, so it may spawn no more")
        return descend(role, above=(parent,), leader=None, limits=config.orchestration)
    own = leader.order.lineage
    above = (parent, *chain(leader.parent, own))
    return descend(role, above=above, leader=own.role, limits=config.orchestration)


def as_led(request: "SpawnRequest", leader: Subagent) -> "SpawnRequest":
    """Return what a leader asked for, filled with what it was given itself.

    Raises `Rejected` (invalid, override_refused) for a workspace that is not its own, and for another address, key or
    image than its own: where those lead is for people to say.
    """
    order = leader.order
    if not Path(request.workspace).resolve().is_relative_to(order.workspace):
        shown = one_line(str(request.workspace), 200)
        raise Rejected("invalid", f"the workspace {shown} is not that of {leader.name}, which spawns it; use its own")
    for name in _FIXED:
        wanted = getattr(request, name)
        if wanted is not None and wanted != getattr(order, name):
            sentence = f"{name} cannot be set by a subagent: its own subagents have what it has; leave it out"
            raise Rejected("override_refused", sentence, {"override": name})
    agent = request.agent or order.agent
    same = agent == order.agent
    return replace(
        request,
        agent=agent,
        image=order.image if same else None,
        model=request.model or (order.model if same else None),
        model_url=order.model_url,
        model_key=order.model_key,
        output_file=None,
    )


def own_preset(config: Config, leader: Subagent) -> Preset:
    """Return what a subagent was given as a preset: the ceiling of its own subagents, and what they get by default."""
    order = leader.order
    named = config.presets.get(order.preset)
    network = Network.NONE if named is not None and named.network is Network.NONE else Network.MODEL
    return Preset(
        name=order.preset,
        about=f"that of {leader.name}",
        confinement=order.confinement,
        network=Network.EGRESS if order.egress is not None else network,
        permissions=leader.permissions,
        egress=order.egress or NO_EGRESS,
        budget=order.budget,
    )
