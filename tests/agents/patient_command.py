"""The command `subagents`, but its `acp` waits for the daemon as long as a busy machine needs it to.

A prompt that comes while the daemon is slow goes on without its block, and has it the next time. What a test says about
the block of a prompt would then hang on how busy the machine was.
"""

from acp_runtime.acp_proxy import ledger
from acp_runtime.cli.main import main

vars(ledger)["OFFER_SECONDS"] = 20.0

raise SystemExit(main())
