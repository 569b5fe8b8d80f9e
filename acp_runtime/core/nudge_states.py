"""How far a nudge got. In a file of its own, since the command line names them before anything else is loaded."""

from typing import Final

NUDGE_STATES: Final = ("pending", "claimed", "committed", "superseded", "dead")
