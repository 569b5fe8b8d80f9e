"""The way from a sandbox to its model: one upstream, the key added outside of the sandbox."""

from acp_runtime.models.forwarder import ModelForwarder
from acp_runtime.models.meter import Metering
from acp_runtime.models.prices import builtin_prices
from acp_runtime.models.purse import Purse
from acp_runtime.models.route import Route

__all__ = ["Metering", "ModelForwarder", "Purse", "Route", "builtin_prices"]
