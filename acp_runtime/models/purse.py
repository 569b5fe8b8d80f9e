"""What one agent may still use: its budget, and what it has used by now."""

from acp_runtime.core.budget import Budget, Used
from acp_runtime.core.metering import Call

__all__ = ["Purse"]


class Purse:
    """`used` is what counts by now. It is asked before a call is made, and told when one is over."""

    def __init__(self, budget: Budget, used: Used) -> None:
        self.budget = budget
        self.used = used

    @property
    def refusal(self) -> str | None:
        """Why no further call is made, in a sentence without a full stop; None while calls may be made."""
        return self.budget.refusal(self.used)

    def take(self, call: Call) -> None:
        """Count a call."""
        self.used = call.on_top_of(self.used)
