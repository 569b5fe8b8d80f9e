"""What stands in the ledger: a record for each exchange, tunnel and refusal. The gateway writes it, managers read.

at        the time of day at its end, in UTC
subagent  whose it was, with attempt, and the top one of its tree
way       model, or as `egress.contact` has it
host, port, method, path    where it was to go, the path without its query
status, up, down, ms, end   what became of it: bytes of bodies, or of a tunnel; `end` as in `carrying.observer`
why, code, rule             one sentence where something failed, the code of a refusal of ours, what allowed it
call      a call of a model: tokens and cost
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from acp_runtime.core.errors import Rejected
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.egress.rules import Rule, needed
from acp_runtime.gateway.lines import Json

__all__ = ["Denial", "Expiry", "call_of", "call_record", "denial_of", "expiry_of"]

_NO_LOGIN = frozenset(("login_expired", "key_missing"))


@dataclass(frozen=True, slots=True)
class Denial:
    """What an attempt of a subagent was refused to reach, as the narrowest rule that would have let it through."""

    subagent: str
    attempt: int
    rule: str


@dataclass(frozen=True, slots=True)
class Expiry:
    """A call that an attempt of a subagent was refused for want of a key that can be had again; `why` says how."""

    subagent: str
    attempt: int
    why: str


def expiry_of(record: Mapping[str, Any]) -> Expiry | None:
    """Return the expiry of a record; None where another thing became of it."""
    if record.get("code") not in _NO_LOGIN:
        return None
    with suppress(KeyError, TypeError, ValueError):
        return Expiry(str(record["subagent"]), int(record["attempt"]), str(record["why"]))
    return None


def denial_of(record: Mapping[str, Any]) -> Denial | None:
    """Return the denial of a record; None where no rule would have helped, but one into networks of this machine."""
    if record.get("code") != "egress_denied" or not record.get("host"):
        return None
    with suppress(KeyError, TypeError, ValueError, Rejected):
        rule = Rule.parse(needed(str(record["host"]), int(record["port"])))
        return None if rule.private else Denial(str(record["subagent"]), int(record["attempt"]), str(rule))
    return None


def call_record(call: Call) -> Json:
    """Return the part of a record that a call is."""
    told = asdict(call)
    del told["subagent"]
    return told


def call_of(record: Mapping[str, Any]) -> Call | None:
    """Return the call of a record; None where it has none, or none that this version can read."""
    told = record.get("call")
    if not isinstance(told, dict):
        return None
    with suppress(KeyError, TypeError, ValueError):
        usage = told["usage"]
        return Call(
            subagent=str(record["subagent"]),
            began=int(told["began"]),
            model=str(told["model"]),
            end=CallEnd(told["end"]),
            usage=None if usage is None else Usage(**usage),
            estimate=int(told["estimate"]),
            cost=None if told["cost"] is None else int(told["cost"]),
            estimate_cost=int(told["estimate_cost"]),
            why=str(told["why"]),
            boot=str(told.get("boot", "")),  # what a gateway from before an upgrade writes is charged all the same
        )
    return None
