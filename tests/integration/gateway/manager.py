"""`python manager.py ROOT URL`: a manager that has an account opened, and then waits to be killed."""

import asyncio
import sys
from pathlib import Path

from tests.integration.gateway.gateway_site import GatewaySite


async def main(root: Path, url: str) -> None:
    site = GatewaySite(root)
    await site.link().open(lambda: site.account(url))
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
