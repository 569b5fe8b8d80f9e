"""The facade that every door calls: `Runtime`, and the request with which a subagent is spawned."""

from acp_runtime.service.order import SpawnRequest
from acp_runtime.service.runtime import Runtime

__all__ = ["Runtime", "SpawnRequest"]
