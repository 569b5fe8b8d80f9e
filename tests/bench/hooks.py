"""What a hook costs its host: its wall time without a daemon and with one, beside an empty Python's."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.background import NOTHING
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND
from tests.e2e.daemon_site import MODULE, DaemonSite, daemon_site

HOOK = [*MODULE, "hook", "prompt", "--client", "claude"]


def hooks(count: int) -> list[Figure]:
    """Record the figures; the daemon that is asked is a real one, and idle."""
    # Short, for the daemon's socket.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as root, daemon_site(Path(root)) as site:
        away = _in_turn(site, "no daemon", count)
        site.serve()
        there = _in_turn(site, "asking the daemon", count)
    return [*away, *there]


def _in_turn(site: DaemonSite, how: str, count: int) -> list[Figure]:
    """Run a hook and an empty Python in turn."""
    hook, ratio = [], []
    for _ in range(count):
        bare = _took(site, NOTHING)
        hook.append(_took(site, HOOK))
        ratio.append(hook[-1] / bare)
    return [
        Figure(f"a prompt's hook, {how}", "ms", "local", tuple(hook)),
        Figure(f"such a hook in starts of Python alone, {how}", "ratio", "local", tuple(ratio)),
    ]


def _took(site: DaemonSite, argv: list[str]) -> float:
    given = json.dumps({"session_id": "s1", "cwd": str(site.workspace), "prompt": "hello"}).encode()
    begin = time.perf_counter()
    subprocess.run(argv, check=True, input=given, env=site.env, cwd=site.root, capture_output=True, timeout=BOUND)
    return (time.perf_counter() - begin) * 1000
