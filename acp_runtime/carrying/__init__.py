"""Carrying HTTP/1.1 between a unix socket and an upstream, whatever is asked for and whoever decides where it goes."""

from acp_runtime.carrying.exchange import BrokenAnswer, ClientGone, Exchange
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.observer import Ending, Observer
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.server import Carrier, HttpServer
from acp_runtime.carrying.tally import Tally
from acp_runtime.carrying.upstream import Onward, Upstream

__all__ = [
    "BrokenAnswer", "Carrier", "CarryingLimits", "ClientGone", "Ending", "Exchange", "HttpServer", "Observer", "Onward",
    "Refusal", "Tally", "Upstream",
]  # fmt: skip
