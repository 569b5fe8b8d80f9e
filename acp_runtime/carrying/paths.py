"""Paths in requests."""

from urllib.parse import unquote_to_bytes

__all__ = ["leaves"]

_MAX_DECODINGS = 4


def leaves(path: bytes) -> bool:
    """Whether some server could read `path` as leading out of where it seems to lead."""
    if path.startswith(b"//"):
        return True
    decoded = path
    for _ in range(_MAX_DECODINGS):
        before, decoded = decoded, unquote_to_bytes(decoded)
        if before == decoded:
            break
    else:
        return True
    if any(byte < 0x20 or byte == 0x7F for byte in decoded):
        return True
    segments = decoded.replace(b"\\", b"/").split(b"/")
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)
