"""A process that wants a store for itself: it takes it when its owner has stalled, and writes until it has lost it.

Says `owns PID EPOCH` once it has promised to renew its lease, stands still after some writes (`stands PID EPOCH`) until
it is woken by a signal, and says `lost PID EPOCH` when it is refused as an owner of before. The second argument
`unfenced` takes the check away that refuses it.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from acp_runtime.clock import SystemClock
from acp_runtime.core.errors import StoreOwned
from acp_runtime.store.db import Database
from acp_runtime.store.store import Store

LEASE_SECONDS = 0.4
RENEWED_EACH = 5
STANDS_AFTER = 12
TRIED_EACH_MS = 20


async def hold(path: Path, clock: SystemClock) -> None:
    async with Store.open(path, clock, supplant=True) as store:
        await store.renew_lease(LEASE_SECONDS)
        print("owns", os.getpid(), store.epoch, flush=True)
        try:
            number = 0
            while True:
                number += 1
                if number % RENEWED_EACH == 0:
                    await store.renew_lease(LEASE_SECONDS)
                if number == STANDS_AFTER:
                    print("stands", os.getpid(), store.epoch, flush=True)
                    os.kill(os.getpid(), signal.SIGSTOP)
                await store.begin_turn("p", "python", f"{os.getpid()} {store.epoch} {number}")
        except StoreOwned:
            print("lost", os.getpid(), store.epoch, flush=True)


async def main() -> None:
    clock = SystemClock()
    if sys.argv[2] == "unfenced":
        Database._fence = lambda *_: None  # type: ignore[method-assign,assignment]
    while True:
        try:
            await hold(Path(sys.argv[1]), clock)
        except StoreOwned:
            await clock.until(clock.now() + TRIED_EACH_MS)


if __name__ == "__main__":
    asyncio.run(main())
