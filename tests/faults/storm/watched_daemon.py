"""The command of this project with an eye on it: at SIGUSR1 it writes what only the process itself can count.

WATCHED=FILE python -m tests.faults.storm.watched_daemon serve ...
"""

import asyncio
import gc
import json
import os
import signal
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from acp_runtime.cli.main import main


def look(_number: int, _frame: FrameType | None) -> None:
    gc.collect()
    loops = [each for each in gc.get_objects() if isinstance(each, asyncio.AbstractEventLoop) and each.is_running()]
    tasks = [task for loop in loops for task in asyncio.all_tasks(loop)]
    names = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in tasks)
    pools = [each for each in gc.get_objects() if isinstance(each, ThreadPoolExecutor)]
    # A pool makes its threads when it first needs them, and no more than it may have: that is no leak, a pool is.
    pooled = sum(len(each._threads) for each in pools)
    told = {
        "tasks": len(tasks),
        "names": names,
        "pools": len(pools),
        "pooled": pooled,
        "objects": len(gc.get_objects()),
    }
    path = Path(os.environ["WATCHED"])
    path.with_suffix(".new").write_text(json.dumps(told))
    path.with_suffix(".new").rename(path)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, look)
    sys.exit(main())
