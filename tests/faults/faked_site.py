"""A user of the daemon whose clocks can be moved: libfaketime is loaded into every process of the site.

Only the wall clock is moved, as by a person, a time server, or a machine that wakes up: the monotonic clock of a
kernel cannot be set.
"""

import importlib.util
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon_site import DaemonSite


def library() -> Path:
    """Return the library that the wheel brings along; skip where its machine code is another's."""
    if platform.machine() != "x86_64":
        pytest.skip(f"no libfaketime: its wheel has none for {platform.machine()}")
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


@dataclass
class FakedSite(DaemonSite):
    def __post_init__(self) -> None:
        self.set_clock(0)
        super().__post_init__()
        # What an agent thinks of the time is not asked for, and to be told costs it much.
        written = self.config.read_text(encoding="utf-8")
        self.config.write_text(written.replace("argv = [", 'argv = ["env", "-u", "LD_PRELOAD", '), encoding="utf-8")

    @property
    def env(self) -> dict[str, str]:
        return super().env | {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.root / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }

    def set_clock(self, days: int) -> None:
        """Have the wall clock of all processes be so many days off, from now on."""
        fresh = self.root / "clock.new"
        fresh.write_text(f"{days:+d}d\n", encoding="ascii")
        fresh.rename(self.root / "clock")

    def call(self, method: str, caller: Any, **given: Any) -> Any:
        return self.client.call(method, caller, **given)

    def days_off(self, moment: str) -> int:
        """Return how many days a time of day that the daemon gave is away from the real one."""
        return round((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds() / 86_400)
