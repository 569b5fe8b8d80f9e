"""The way from a sandbox to its model: one upstream, the key added outside of the sandbox."""

from acp_runtime.models.forwarder import ModelForwarder
from acp_runtime.models.route import Route

__all__ = ["ModelForwarder", "Route"]
