"""`python -P -m acp_runtime.gateway STORE FOLDER SOCKET`: have the gateway of a store run in the background.

Returns once it listens, or another one has the store; what keeps it from that is on standard error.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, NoReturn

from acp_runtime import __version__
from acp_runtime.beside import beside
from acp_runtime.clock import SystemClock
from acp_runtime.core.errors import Rejected
from acp_runtime.detached import Report, detach
from acp_runtime.gateway.control import Control
from acp_runtime.gateway.gateway import Gateway
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.place import GatewayPlace
from acp_runtime.gateway.served import Means
from acp_runtime.open_files import allow_files

log = logging.getLogger(__name__)

READY_SECONDS: Final = 20.0
TERM_GRACE: Final = 2.0
LOG_BYTES: Final = 1024 * 1024
# Files that it may have open: with the usual 1024 a few agents that hold all their connections would shut others out.
FILES: Final = 262_144
TRIES, TRY_SECONDS = 20, 0.05  # who only looks whether the lock is held has it for a moment


def main(place: GatewayPlace) -> int:
    report = Report()
    if detach():
        _in_background(place, report)
    said = report.read(READY_SECONDS)
    if said:
        sys.stderr.write(f"{said}\n")
    return 1 if said else 0


def _in_background(place: GatewayPlace, report: Report) -> NoReturn:
    """Be the gateway in a process of its own. Nothing of the process it was forked from is run at its end."""
    try:
        allow_files(FILES)
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = RotatingFileHandler(place.folder / "log", maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
        form = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
        logging.basicConfig(handlers=[handler], level=logging.INFO, format=form, force=True)
        asyncio.run(_serve(place, report))
    except (Rejected, OSError) as error:
        report.bad(f"the gateway of store {place.store} cannot run: {error}")
    except BaseException as error:
        log.exception("the gateway failed")
        report.bad(f"this is a bug, please report it: {type(error).__name__}")
    finally:
        os._exit(0)


async def _serve(place: GatewayPlace, report: Report) -> None:
    for _ in range(TRIES):
        if place.take() is not None:
            break
        await asyncio.sleep(TRY_SECONDS)
    else:
        report.good()  # there is one
        return
    clock, loop = SystemClock(), asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        means = Means(Ledger(place.folder), clock)
        stack.push_async_callback(means.close)
        gateway = Gateway(means, clock)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, gateway.end, TERM_GRACE)
        control = await stack.enter_async_context(Control(place.socket, place.store, gateway))
        async with beside(accounts=gateway.watch, socket=control.watch):
            log.info("version %s serves store %s at %s", __version__, place.store, place.socket)
            report.good()
            grace = await gateway.ending
            log.info("ends, %d accounts are open", len(gateway.accounts()))
            control.withdraw()
        await gateway.finish(grace)


if __name__ == "__main__":
    sys.exit(main(GatewayPlace(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
