"""Packages of Debian and Ubuntu: what an installation would do, doing it, and undoing exactly that.

Promises: nothing is removed to install something; what is new is known (and can be recorded) before it is
installed; undoing never takes a package along that was not on the list.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostsetup.programs import ask, last_lines, quoted, run_logged, with_system_path
from hostsetup.talk import Stop, say

UPDATE_SECONDS = 300.0
INSTALL_SECONDS = 900.0
# A lock held by unattended-upgrades is waited for; a configuration file that is there already is kept.
OPTIONS = (
    "-o",
    "DPkg::Lock::Timeout=120",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
)
_SIZES = re.compile(r"^(?:Need to get|After this operation,) .*$", re.MULTILINE)


def read_os_id(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the distribution's `ID` ("debian", "ubuntu", …); empty when the machine does not say."""
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^ID="?([a-z0-9._-]+)"?\s*$', text, re.MULTILINE)
    return found.group(1) if found else ""


def apt_works_here(os_id: str) -> bool:
    """Whether this is a machine whose packages we may add to: Debian or Ubuntu itself, with apt-get."""
    return os_id in ("debian", "ubuntu") and shutil.which("apt-get") is not None


@dataclass(frozen=True)
class Plan:
    """What apt-get would do, from its own simulation."""

    new: tuple[str, ...]
    updated: tuple[str, ...]
    removed: tuple[str, ...]

    @staticmethod
    def parse(simulation: str) -> "Plan":
        """Read `apt-get -s`: `Inst name (…)` is new, `Inst name [old] (…)` an upgrade, `Remv`/`Purg` a removal."""
        new = re.findall(r"^Inst (\S+) \(", simulation, re.MULTILINE)
        updated = re.findall(r"^Inst (\S+) \[", simulation, re.MULTILINE)
        removed = re.findall(r"^(?:Remv|Purg) (\S+)", simulation, re.MULTILINE)
        return Plan(tuple(new), tuple(updated), tuple(dict.fromkeys(removed)))


class Apt:
    """apt-get without questions, its output in `log`."""

    def __init__(self, log: Path, environ: Mapping[str, str]) -> None:
        self._log = log
        self._env = {
            **with_system_path(environ),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "NEEDRESTART_MODE": "l",
        }

    def install(self, packages: Sequence[str], *, record: Callable[[tuple[str, ...]], None]) -> None:
        """Install with the recommended packages left out; `record` gets the names of all new ones beforehand.

        Raises Stop when a package is not to be had, something would have to go for it, or apt-get fails.
        """
        say(f"Refreshing the package lists (apt-get update, some 10 to 40 MB; log: {self._log}).")
        if self._run(["apt-get", *OPTIONS, "update", "-q"], UPDATE_SECONDS) != 0:
            say("The package lists could not be refreshed; going on with those that are here.")
        wanted = ["install", "--no-install-recommends", *packages]
        code, simulation = ask(["apt-get", *OPTIONS, "-s", *wanted], env=self._env)
        plan = Plan.parse(simulation)
        if code != 0:
            raise Stop(
                f"apt-get knows no way to install {' '.join(packages)}; it says:{quoted(simulation.splitlines()[-6:])}"
            )
        if plan.removed:
            raise Stop(
                f"Installing {' '.join(packages)} would remove {' '.join(plan.removed)}, so nothing was done; "
                "decide that by hand with apt-get, then run this again."
            )
        _, preview = ask(["apt-get", *OPTIONS, "--assume-no", *wanted], env=self._env)
        updates = f"; updating {' '.join(plan.updated)}" if plan.updated else ""
        sizes = " ".join(_SIZES.findall(preview))
        say(f"Installing {' '.join(plan.new) or 'nothing new'}{updates}. {sizes}".rstrip())
        record(plan.new)
        self._must(["apt-get", *OPTIONS, "-y", "-q", "--no-remove", *wanted], f"install {' '.join(packages)}")

    def remove(self, packages: Sequence[str], *, purge: bool) -> None:
        """Remove those of `packages` that are installed, and nothing else.

        Raises Stop when other packages would go along, or apt-get fails.
        """
        present = [name for name in packages if self._installed(name)]
        if not present:
            return
        wanted = ["purge" if purge else "remove", *present]
        code, simulation = ask(["apt-get", *OPTIONS, "-s", *wanted], env=self._env)
        others = sorted(set(Plan.parse(simulation).removed) - set(present))
        if code != 0 or others:
            why = f"that would also remove {' '.join(others)}" if others else "apt-get refuses to"
            raise Stop(
                f"The packages {' '.join(present)} stay: {why}. Remove them by hand: apt-get remove {' '.join(present)}"
            )
        say(f"Removing the packages that were installed for this: {' '.join(present)}.")
        self._must(["apt-get", *OPTIONS, "-y", "-q", *wanted], f"remove {' '.join(present)}")

    def _installed(self, package: str) -> bool:
        code, status = ask(["dpkg-query", "-W", "-f=${db:Status-Abbrev}", package], env=self._env)
        return code == 0 and status.startswith("ii")

    def _run(self, argv: Sequence[str], bound: float) -> int:
        # Packages install what everybody on the machine must be able to read, whatever this user's umask is.
        before = os.umask(0o022)
        try:
            return run_logged(argv, self._log, bound=bound, env=self._env)
        finally:
            os.umask(before)

    def _must(self, argv: Sequence[str], what: str) -> None:
        code = self._run(argv, INSTALL_SECONDS)
        if code != 0:
            raise Stop(
                f"apt-get could not {what} (exit {code}); the log is {self._log}, its last lines:"
                f"{quoted(last_lines(self._log, 8))}"
            )
