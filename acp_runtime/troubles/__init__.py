"""What can go wrong, in one table: each kind of error with what it means, why it comes, and what to do.

`docs/troubleshooting.md` is made from it. A test reads the sources: every kind that they can raise or return has its
row, and every row a place from which it comes.
"""

from typing import Final

from acp_runtime.troubles.agents import ENDED, SANDBOX, STARTING
from acp_runtime.troubles.asking import ASKING, CONFIGURATION
from acp_runtime.troubles.keeping import DAEMON, STORE
from acp_runtime.troubles.trouble import Area, Trouble
from acp_runtime.troubles.ways_out import EGRESS, GATEWAY, MODEL

__all__ = ["AREAS", "TROUBLES", "Area", "Trouble"]

AREAS: Final = (ASKING, CONFIGURATION, STARTING, SANDBOX, MODEL, EGRESS, GATEWAY, ENDED, STORE, DAEMON)
TROUBLES: Final = {row.kind: row for area in AREAS for row in area.rows}
