"""A key that is looked for in everything that anybody could see, in each form in which it might stand there."""

import base64
from collections.abc import Iterator, Mapping
from urllib.parse import quote

KEY = "sk-canary/5c1e+7a90=b2~d4"
"""One whose forms all differ."""


def forms(key: str = KEY) -> dict[str, bytes]:
    """Return the forms by their names."""
    raw = key.encode()
    found = {
        "as it is": raw,
        "reversed": raw[::-1],
        "in hex": raw.hex().encode(),
        "in large hex": raw.hex().upper().encode(),
        "in hex with spaces": raw.hex(" ").encode(),
        "as a URL has it": quote(key, safe="").encode(),
        "as JSON escapes it": "".join(f"\\u{ord(char):04x}" for char in key).encode(),
        "as JSON escapes slashes": key.replace("/", "\\/").encode(),
        "as UTF-16": key.encode("utf-16-le"),
        "as big-endian UTF-16": key.encode("utf-16-be"),
        "with rot13": key.translate(_ROT13).encode(),
        "within an octal dump": "".join(f"\\{byte:03o}" for byte in raw).encode(),
    }
    for shift in range(3):
        found[f"in base64 behind {shift} bytes"] = _base64(raw, shift)
        found[f"in base64 of URLs behind {shift} bytes"] = _base64(raw, shift).translate(bytes.maketrans(b"+/", b"-_"))
    return found


def places_of(seen: Mapping[str, bytes | str], key: str = KEY) -> list[str]:
    """Return where the key stands, and how: `place: form`."""
    return list(_found(seen, forms(key)))


def _found(seen: Mapping[str, bytes | str], wanted: Mapping[str, bytes]) -> Iterator[str]:
    for where, text in seen.items():
        # Text that was read with replacements for what is no UTF-8 has lost nothing of these forms but UTF-16's.
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        unbroken = data.replace(b"\n", b"").replace(b"\r", b"")  # base64 and dumps are cut into lines
        yield from (f"{where}: {form}" for form, bytes_ in wanted.items() if bytes_ in data or bytes_ in unbroken)


def _base64(raw: bytes, shift: int) -> bytes:
    """Return what of the base64 of a longer text is the key's alone: its neighbours share the letters at its ends."""
    encoded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
    start = 0 if shift == 0 else shift + 1
    whole = (shift + len(raw)) % 3 == 0
    return encoded[start:] if whole else encoded[start:-1]


_ROT13 = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "nopqrstuvwxyzabcdefghijklmNOPQRSTUVWXYZABCDEFGHIJKLM"
)
