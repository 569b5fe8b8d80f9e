"""The ledger: what went through the gateway and what it refused, one line of JSON each, appended and never changed.

Promises: a record is written whole, or cut short by a death or a full disk and then followed by nothing on its line; at
most `SEGMENTS` files of about `SEGMENT_BYTES` are kept, the oldest goes first; writing never fails a request.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["Ledger", "Place", "Record", "newest", "read"]

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENTS: Final = 16
AT_ONCE: Final = 256 * 1024  # bytes
Record = dict[str, Any]
_PREFIX, _SUFFIX, _DIGITS = "ledger-", ".jsonl", 8


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
    numbers = sorted(_numbers(folder))
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
    found: deque[Record] = deque(maxlen=most)
    place = Place()
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


def _numbers(folder: Path) -> list[int]:
    names = (path.name for path in folder.glob(f"{_PREFIX}{'[0-9]' * _DIGITS}{_SUFFIX}"))
    return [int(name[len(_PREFIX) : -len(_SUFFIX)]) for name in names]


def _path(folder: Path, number: int) -> Path:
    return folder / f"{_PREFIX}{number:0{_DIGITS}}{_SUFFIX}"


class Ledger:
    """Written by one process at a time. Owner: the gateway; `close` ends it."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS) -> None:
        """Go on behind what an earlier gateway wrote. Raises OSError."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments = segments
        self._number = max(_numbers(self._folder), default=1)
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
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(_path(self._folder, number), flags, 0o600)

    def _torn(self) -> bool:
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _begin_next(self) -> None:
        new = self._open(self._number + 1)
        os.close(self._file)
        self._file, self._number = new, self._number + 1
        for number in sorted(_numbers(self._folder))[: -self._segments]:
            _path(self._folder, number).unlink(missing_ok=True)
