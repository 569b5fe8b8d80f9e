"""The storm is tested: a program with a guard taken out must not come through it."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.faults.storm.driver import FLAT, ROOT, Storm
from tests.faults.storm.plan import Fault
from tests.faults.storm.points import Met
from tests.faults.storm.site import StormSite
from tests.faults.storm.victims import FAULTS

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(900), pytest.mark.requirement("D08.11")]

CONTROLS = tomllib.loads(Path(__file__).with_name("controls.toml").read_text(encoding="utf-8"))
PARTS = ("acp_runtime", "sandbox", "images")
TRIES = 5  # of each point


class Control(Storm):
    """A storm of chosen faults, each a moment after the one before or, as VICTIM@POINT, at a point."""

    control: dict[str, Any]

    def stand_still(self, *points: str) -> Met | None:
        """Have one manager after another until one is not past all of these points before it is waited for there."""
        for _ in range(TRIES):
            if (met := super().stand_still(*points)) is not None:
                return met
            FAULTS["manager-kill"](self, "")
        return None

    def faults(self) -> list[Fault]:
        return [planned(each) for each in self.control["faults"]]

    def terms(self) -> dict[str, Any]:
        return super().terms() | {"limits": self.control.get("limits", {})}


def planned(words: str) -> Fault:
    victim, _, point = words.partition("@")
    return Fault(victim, (point,)) if point else Fault(victim, facts=30)


def spoilt(control: dict[str, Any], tree: Path) -> Path:
    """Return a copy of the program with one guard less."""
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = tree / control["file"]
    text = file.read_text(encoding="utf-8")
    assert text.count(control["change"]) == 1, "the code has moved on: write the control anew"
    file.write_text(text.replace(control["change"], control["to"]), encoding="utf-8")
    return tree


@pytest.mark.parametrize("name", CONTROLS)
def test_a_program_without_the_guard_is_seen(name: str, site: StormSite) -> None:
    control = CONTROLS[name]
    site.tree = spoilt(control, site.root / "tree")
    storm = Control(site, 1, len(control["faults"]), kinds=FLAT)
    storm.control = control
    verdict = storm.play(site.root / "case", held=True)
    assert verdict["points"]["met"] == verdict["points"]["planned"], f"no manager came to a point: {verdict}"
    broken = {each for each, wrong in verdict["found"].items() if wrong}
    print(name, verdict["points"], {each: verdict["found"][each][:2] for each in broken})
    assert broken & set(control["broken"]), f"{name} was not seen: {verdict}"
