"""How names and messages that somebody else chose appear in our sentences: on one line, printable, short."""

from collections.abc import Iterable

__all__ = ["last_line", "named", "shown", "size"]

NAMED = 5
LINE = 300
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def shown(raw: bytes | str) -> str:
    """Without anything a terminal could obey: what is not printable becomes `?`, at most 300 characters."""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw.encode(errors="replace").decode()
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= LINE else clean[: LINE - 1] + "…"


def last_line(stderr: bytes) -> str:
    """Return the last line that says something; programs put their reason there."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return shown(lines[-1].strip()) if lines else "it said nothing"


def named(paths: Iterable[bytes]) -> str:
    """Name the first few of them, in order, and how many more there are."""
    everything = sorted(set(paths))
    text = ", ".join(shown(path) for path in everything[:NAMED])
    more = len(everything) - NAMED
    return f"{text} and {more} more" if more > 0 else text


def size(count: int) -> str:
    """Write a number of bytes for people: one decimal, binary units."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    return f"{count} {UNITS[0]}" if power == 0 else f"{count / 1024**power:.1f} {UNITS[power]}"
