"""What subagents may reach at the moment: by their orders, by what was allowed for their tasks, and for good.

What the operator allowed for good stands in a file beside the store, one `PRESET RULE` a line, so that people can read
it and take it back; it holds for every subagent of that preset that has a proxy. It is read whenever it is needed.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from acp_runtime.core.confinement import Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Subagent
from acp_runtime.core.wishes import granted
from acp_runtime.egress.rules import MOST, Rule

__all__ = ["Policy", "Standing"]

log = logging.getLogger(__name__)

LARGEST: Final = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """One rule that the operator allowed for good to all subagents of a preset."""

    preset: str
    rule: str


class Policy:
    """Of one store. Its file is written by the owner of the store alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = ""

    @classmethod
    def beside(cls, store: Path) -> Self:
        """Return the policy of the store at this path."""
        return cls(store.with_suffix(".egress"))

    def egress_of(self, state: Subagent) -> Egress | None:
        """Return what a subagent may reach now, None where it has no proxy; at most as many rules as one may have."""
        egress = state.order.egress
        if egress is None:
            return None
        standing = (each.rule for each in self.standing() if each.preset == state.order.preset)
        rules = tuple(dict.fromkeys((*egress.rules, *granted(state.active), *standing)))
        return replace(egress, rules=rules[:MOST])

    def standing(self) -> tuple[Standing, ...]:
        """Return what was allowed for good. A line that is none allows nothing; a file that cannot be read, neither."""
        try:
            with self._path.open(encoding="utf-8", errors="replace") as file:
                lines = file.read(LARGEST).splitlines()
        except FileNotFoundError:
            return ()
        except OSError as error:
            self._tell(f"{self._path} cannot be read, so nothing is allowed for good: {error.strerror}")
            return ()
        found = [_standing(line) for line in lines if line.strip()]
        if None in found:
            self._tell(f"line {found.index(None) + 1} of {self._path} is not `PRESET RULE`; it allows nothing")
        return tuple(dict.fromkeys(each for each in found if each is not None))

    def stamp(self) -> object:
        """Return what differs once the file was changed by anybody."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def allow(self, standing: Standing) -> None:
        """Allow a rule for good. Idempotent. Raises OSError, and then nothing was changed."""
        self._write((*(each for each in self.standing() if each != standing), standing))

    def _write(self, found: tuple[Standing, ...]) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(f"{each.preset} {each.rule}\n" for each in found)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise

    def _tell(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            log.warning("%s", sentence)


def _standing(line: str) -> Standing | None:
    preset, _, rule = line.strip().partition(" ")
    with suppress(Rejected):
        return Standing(preset, str(Rule.parse(rule)))
    return None
