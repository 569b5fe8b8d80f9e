"""What subagents may reach now: by configuration and order, by what was allowed for their task, and for good.

What the operator allowed for good stands in a file beside the store, one `PRESET RULE` a line, so that people can read
and edit it; it holds for every subagent of that preset that has a proxy. It is read whenever it is needed.
"""

import errno
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from acp_runtime.config import Config
from acp_runtime.core.confinement import Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Subagent
from acp_runtime.core.wishes import granted
from acp_runtime.egress.rules import MOST, Rule
from acp_runtime.manager.entitlement import entitled
from acp_runtime.private import check_guarded

__all__ = ["Policy", "Standing"]

log = logging.getLogger(__name__)

LARGEST: Final = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """One rule that the operator allowed for good to all subagents of a preset."""

    preset: str
    rule: str


class Policy:
    """Of one store. `config` is the configuration that is in force.

    Its file is written by the owner of the store alone, from any of its threads.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self._path = path
        self.config = config
        self._told = ""
        self._editing = threading.Lock()

    @classmethod
    def beside(cls, store: Path, config: Config) -> Self:
        """Return the policy of the store at this path."""
        return cls(store.with_suffix(".egress"), config)

    def egress_of(self, state: Subagent) -> Egress | None:
        """Return what a subagent may reach now, None where it has no proxy; at most as many rules as one may have."""
        egress = entitled(self.config, state)
        if egress is None:
            return None
        standing = (each.rule for each in self.standing() if each.preset == state.order.preset)
        rules = tuple(dict.fromkeys((*egress.rules, *granted(state.active), *standing)))
        return replace(egress, rules=rules[:MOST])

    def standing(self) -> tuple[Standing, ...]:
        """Return what was allowed for good. A line that is none allows nothing; a file that cannot be read, neither."""
        try:
            lines = self._lines()
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
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    def allow(self, wanted: Standing) -> None:
        """Allow a rule for good. Idempotent. Raises `Rejected` (policy_unwritable), and then nothing was changed."""
        self._edit(lambda line: _standing(line) != wanted, f"{wanted.preset} {wanted.rule}")

    def revoke(self, rule: str, preset: str | None) -> tuple[Standing, ...]:
        """Take a rule back, from one preset or from all; return what was taken back.

        Raises `Rejected` (policy_unwritable), and then nothing was changed.
        """

        def stays(line: str) -> bool:
            found = _standing(line)
            return found is None or found.rule != rule or preset not in (None, found.preset)

        gone = (_standing(line) for line in self._edit(stays))
        return tuple(dict.fromkeys(each for each in gone if each is not None))

    def _edit(self, stays: Callable[[str], bool], *more: str) -> list[str]:
        """Keep the lines that stay, those that are no rule among them, and add some; return the lines that are gone."""
        with self._editing:
            try:
                lines = self._lines()
                kept = [line for line in lines if stays(line)]
                if [*kept, *more] != lines:
                    self._write([*kept, *more])
            except OSError as error:
                sentence = f"{self._path} could not be changed: {error.strerror}; what holds for good is as it was"
                raise Rejected("policy_unwritable", sentence) from error
            return [line for line in lines if not stays(line)]

    def _lines(self) -> list[str]:
        """Return the lines of the file, whole. Raises OSError, also for one too large or that everybody may change."""
        try:
            with self._path.open("rb") as file:
                check_guarded(file.fileno())
                held = file.read(LARGEST + 1)
        except FileNotFoundError:
            return []
        if len(held) > LARGEST:
            raise OSError(errno.EFBIG, f"it is larger than {LARGEST} bytes")
        return held.decode("utf-8", "replace").splitlines()

    def _write(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        if len(text.encode()) > LARGEST:
            raise OSError(errno.EFBIG, f"it would be larger than {LARGEST} bytes; take back what is not needed")
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
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
