"""Figures: samples of one quantity at one place, what they amount to, and the machine they were taken on."""

import math
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Place = Literal["local", "container"]
Json = dict[str, object]

NOTHING = "-"


@dataclass(frozen=True)
class Figure:
    """Samples of one quantity. Where more is better, `p95` is what 95 of 100 samples exceed: always the bad side."""

    name: str
    unit: str
    place: Place
    samples: tuple[float, ...]
    more_is_better: bool = False

    @property
    def p50(self) -> float:
        return self._quantile(0.50)

    @property
    def p95(self) -> float:
        return self._quantile(0.95)

    def _quantile(self, share: float) -> float:
        """Return the smallest sample that is at least as bad as this share of them (nearest rank)."""
        ordered = sorted(self.samples, reverse=self.more_is_better)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    def facts(self) -> Json:
        return {
            "name": self.name,
            "unit": self.unit,
            "place": self.place,
            "n": len(self.samples),
            "p50": self.p50,
            "p95": self.p95,
            "more_is_better": self.more_is_better,
        }


def machine(engine: str, disk: Path) -> Json:
    """Describe what the figures depend on; `engine` is a version or a reason why there is none."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "engine": engine,
        "disk": _file_system(disk),
        "load": busy(),
    }


def busy() -> list[float]:
    """Return how many programs wanted a core in the last 1, 5 and 15 minutes: above `cores`, figures are worse."""
    return [round(each, 2) for each in os.getloadavg()]


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`: how long a commit takes depends on it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(holding)[1]


def table(figures: list[Figure]) -> str:
    """Return one line for each quantity, the two places side by side, with the ratio of their medians."""
    lines = ["| figure | unit | local p50 | p95 | n | container p50 | p95 | n | ratio |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in dict.fromkeys(figure.name for figure in figures):
        places = {figure.place: figure for figure in figures if figure.name == name}
        local, container = places.get("local"), places.get("container")
        ratio = f"{container.p50 / local.p50:.2f}" if local and container else NOTHING
        unit = next(iter(places.values())).unit
        lines.append(f"| {name} | {unit} | {_cells(local)} | {_cells(container)} | {ratio} |")
    return "\n".join(lines)


def _cells(figure: Figure | None) -> str:
    if figure is None:
        return " | ".join([NOTHING] * 3)
    return f"{_short(figure.p50)} | {_short(figure.p95)} | {len(figure.samples)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
