"""The ledger: what went through the gateway and what it refused, one line of JSON each, appended and never changed.

Promises: a record is written whole, or cut short by a death or a full disk and then followed by nothing on its line;
writing never fails a request. The newest records stand in at most `SEGMENTS` files of about `SEGMENT_BYTES`. Of those
before, one file holds up to `OLD_BYTES`, of each subagent the newest of up to `SHARE_BYTES`, and of each tree of them
up to `TREE_BYTES`: who floods the ledger loses records of its own, and takes none from others but where as many flood
it as there are shares.
"""

import errno
import json
import logging
import os
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["Ledger", "Place", "Record", "newest", "read"]

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENTS: Final = 12
OLD_BYTES: Final = 16 * 1024 * 1024
SHARE_BYTES: Final = 512 * 1024
TREE_BYTES: Final = 4 * 1024 * 1024
TRIES: Final = 5
AT_ONCE: Final = 256 * 1024  # bytes
Record = dict[str, Any]
_PREFIX, _OLD, _SUFFIX, _DIGITS = "ledger-", "old-", ".jsonl", 8
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
# Who a record is of. Within a string the quotes would be escaped; and parsing all records takes ten times as long.
_WHOSE: Final = re.compile(rb'"subagent": "([^"]*)"(?:, "attempt": [0-9]+, "tree": "([^"]*)")?')


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a ledger: so many bytes into the segment of that number."""

    segment: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` made. Raises ValueError."""
        segment, offset = text.split()
        return cls(int(segment), int(offset))

    def __str__(self) -> str:
        return f"{self.segment} {self.offset}"


def read(folder: Path, place: Place) -> tuple[list[dict[str, Any]], Place]:
    """Return some records behind a place, and the place behind them; the same place where there is nothing more.

    What is no record is skipped, but the last line, which may become one. A place that the ledger does not have, since
    it was begun anew or its oldest segments are gone, is taken for that of the first record. Raises OSError.
    """
    numbers = _numbers(folder)
    if place.segment not in numbers:
        later = [number for number in numbers if number > place.segment] or numbers
        if not later:
            return [], place
        place = Place(later[0])
    with _path(folder, place.segment).open("rb") as file:
        if place.offset > os.fstat(file.fileno()).st_size:
            place = Place(place.segment)
        file.seek(place.offset)
        data = file.read(AT_ONCE)
    whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == AT_ONCE else b"")
    if not whole and place.segment < numbers[-1]:
        return read(folder, Place(place.segment + 1))
    return [each for each in map(_record, whole.splitlines()) if each], Place(place.segment, place.offset + len(whole))


def newest(folder: Path, wanted: Callable[[Record], bool], most: int) -> list[Record]:
    """Return the newest records that are wanted, oldest first and at most so many. Raises OSError."""
    for _ in range(TRIES):
        old = _numbers(folder, _OLD)[-1:]
        with suppress(FileNotFoundError):
            found = _newest(folder, old, wanted, most)
            if _numbers(folder, _OLD)[-1:] == old:  # else what was oldest was moved while we read
                return found
    raise OSError(errno.EBUSY, "the ledger grows faster than it can be read; try again", str(folder))


def _newest(folder: Path, old: list[int], wanted: Callable[[Record], bool], most: int) -> list[Record]:
    found: deque[Record] = deque(maxlen=most)
    place = Place()
    for number in old:
        lines = _path(folder, number, _OLD).read_bytes().splitlines()
        found.extend(each for each in map(_record, lines) if each and wanted(each))
        place = Place(number + 1)
    while True:
        records, behind = read(folder, place)
        if behind == place:
            return list(found)
        found.extend(filter(wanted, records))
        place = behind


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(folder: Path, prefix: str = _PREFIX) -> list[int]:
    names = (path.name for path in folder.glob(f"{prefix}{'[0-9]' * _DIGITS}{_SUFFIX}"))
    return sorted(int(name[len(prefix) : -len(_SUFFIX)]) for name in names)


def _path(folder: Path, number: int, prefix: str = _PREFIX) -> Path:
    return folder / f"{prefix}{number:0{_DIGITS}}{_SUFFIX}"


def _shared(lines: list[bytes], share: int, tree_share: int, most: int) -> list[bytes]:
    """Return the newest lines, in order: of each subagent and of each tree a share, and in all so many bytes."""
    taken: defaultdict[bytes, int] = defaultdict(int)
    of_trees: defaultdict[bytes, int] = defaultdict(int)
    kept: list[bytes] = []
    for line in reversed(lines):
        found, size = _WHOSE.search(line), len(line) + 1
        whose = found[1] if found else b""
        taken[whose] += size
        if taken[whose] > share:
            continue
        tree = found[2] or whose if found else b""
        of_trees[tree] += size
        if of_trees[tree] > tree_share:
            continue
        if (most := most - size) < 0:
            break
        kept.append(line)
    return kept[::-1]


class Ledger:
    """Written by one process at a time. Owner: the gateway; `close` ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segments: int = SEGMENTS,
        old_bytes: int = OLD_BYTES,
        share_bytes: int = SHARE_BYTES,
        tree_bytes: int = TREE_BYTES,
    ) -> None:
        """Go on behind what an earlier gateway wrote. Raises OSError."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments = segments
        self._old = (share_bytes, tree_bytes, old_bytes)
        behind_old = [number + 1 for number in _numbers(folder, _OLD)]
        self._number = max((*_numbers(folder), *behind_old), default=1)
        self._file = self._open(self._number)
        self._failed = False

    def append(self, record: Mapping[str, object]) -> None:
        """Write a record. One that cannot be written is lost, which the log says once."""
        line = json.dumps(record).encode("ascii") + b"\n"
        try:
            if os.fstat(self._file).st_size >= self._segment_bytes:
                self._begin_next()
            begin = b"\n" if self._torn() else b""
            written = os.write(self._file, begin + line)
            if written < len(begin) + len(line):
                raise OSError(0, "the disk has no room")  # noqa: TRY301 - the same as the errors of the system
        except OSError as error:
            if not self._failed:
                log.warning("the ledger cannot be written, what goes through is not recorded: %s", error.strerror)
            self._failed = True
        else:
            self._failed = False

    @property
    def written(self) -> datetime | None:
        """When the newest record of the newest segment was written, None while there is none in it."""
        found = os.fstat(self._file)
        return datetime.fromtimestamp(found.st_mtime, UTC) if found.st_size else None

    def close(self) -> None:
        os.close(self._file)

    def _open(self, number: int) -> int:
        return os.open(_path(self._folder, number), _FLAGS | os.O_APPEND, 0o600)

    def _torn(self) -> bool:
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _begin_next(self) -> None:
        new = self._open(self._number + 1)
        os.close(self._file)
        self._file, self._number = new, self._number + 1
        if over := _numbers(self._folder)[: -self._segments]:
            self._grow_old(over)

    def _grow_old(self, segments: list[int]) -> None:
        """Keep a share of what these segments hold and of what was old before, and remove them.

        The new file is named by the last of them: who dies before all are removed leaves nothing that counts twice.
        """
        before = _numbers(self._folder, _OLD)
        number = max((*before, segments[-1]))
        paths = [_path(self._folder, each) for each in segments]
        begun = [path for each, path in zip(segments, paths, strict=True) if each > max(before, default=0)]
        old = [_path(self._folder, each, _OLD) for each in before[-1:]]
        new = self._folder / f"{_OLD}new{_SUFFIX}"
        try:
            lines = [line for path in (*old, *begun) for line in path.read_bytes().splitlines()]
            with os.fdopen(os.open(new, _FLAGS | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(line + b"\n" for line in _shared(lines, *self._old))
            new.replace(_path(self._folder, number, _OLD))
            paths += [_path(self._folder, each, _OLD) for each in before if each != number]
        finally:  # the bound holds on a disk without room too
            for path in (*paths, new):
                path.unlink(missing_ok=True)
