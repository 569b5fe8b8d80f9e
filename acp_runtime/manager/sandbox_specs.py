"""What the sandboxes of a subagent are to be: the agent's own, and the second one through which its work goes."""

from collections.abc import Mapping
from typing import Final

from acp_runtime.manager.confinement import sandbox_limits
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.model_way import group, relay_command
from sandbox.probe import ProbeResult
from sandbox.spec import HostMount, SandboxSpec, VolumeMount

__all__ = ["Mounts", "agent_spec", "guest_spec"]

GUEST_SECONDS: Final = "1800"
Mounts = tuple[HostMount | VolumeMount, ...]


def agent_spec(
    request: LaunchRequest, image: str, probed: ProbeResult, mounts: Mounts, labels: Mapping[str, str]
) -> SandboxSpec:
    """Return the sandbox of an attempt, for an engine that was `probed`."""
    return SandboxSpec(
        store=request.store,
        subagent=request.subagent,
        attempt=request.attempt,
        image=image,
        command=relay_command(probed, proxied=request.order.egress is not None),
        gid=group(probed),
        limits=sandbox_limits(request.order.confinement),
        mounts=mounts,
        journal=True,
        labels=labels,
        runtime=request.order.confinement.runtime,
        unsafe_seccomp=request.order.confinement.unsafe_seccomp,
    )


def guest_spec(request: LaunchRequest, base: str, labels: Mapping[str, str]) -> SandboxSpec:
    """Return the sandbox that sees an agent's work and what it was given, and that the agent never enters."""
    return SandboxSpec(
        store=request.store,
        subagent=request.subagent,
        attempt=request.attempt,
        role="workspace",
        image=base,
        command=("sleep", GUEST_SECONDS),
        home=False,
        base=True,
        labels=labels,
        runtime=request.order.confinement.runtime,
    )
