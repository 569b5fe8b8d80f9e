"""What agents may still use: budgets, each with what has been used of it by now. Several agents may draw on one."""

from dataclasses import replace
from weakref import WeakValueDictionary

from acp_runtime.core.budget import Allowance, Scope
from acp_runtime.core.metering import Call

__all__ = ["Purse", "Purses"]


class Purse:
    """One budget. It is asked before a call is made, and told when one is over."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance

    @property
    def refusal(self) -> str | None:
        """Why no further call is made, in a sentence without a full stop; None while calls may be made."""
        return self.allowance.refusal

    def take(self, call: Call) -> None:
        """Count a call."""
        self.allowance = replace(self.allowance, used=call.on_top_of(self.allowance.used))


class Purses:
    """All of one gateway. One lives as long as somebody draws on it."""

    def __init__(self) -> None:
        self._purses: WeakValueDictionary[tuple[Scope, str], Purse] = WeakValueDictionary()

    def of(self, told: Allowance) -> Purse:
        """Return the purse of this scope and key, bounded as told from now on.

        What was told to be used counts where it is more than what was seen: an earlier gateway saw it.
        """
        purse = self._purses.get((told.scope, told.key))
        if purse is None:
            self._purses[told.scope, told.key] = purse = Purse(told)
        purse.allowance = replace(told, used=told.used.at_least(purse.allowance.used))
        return purse
