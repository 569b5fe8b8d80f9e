"""Neutralising text that a child controls before a parent's model or a terminal sees it.

Nothing that comes out of `quiet` can move a cursor, reverse the reading direction, hide characters, or close a quote
or a wrapper of ours. Used by the roster, the nudges and the terminal alike.
"""

import re
import unicodedata
from typing import Final

# ESC sequences as a whole (CSI, OSC, DCS and the short ones), so that no parameter bytes are left standing as text.
_ANSI: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?"
    r"|\x1b[\]PX^_](?:[^\x07\x1b\x9c]|\x1b(?!\\))*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]?",
    re.DOTALL,
)
# Cc controls, Cf format characters (bidi, zero-width, tags U+E0000-7F), Cs lone surrogates, Co private use, and the
# two line separators that some programs treat as a newline.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Characters of other categories for which nothing is drawn either: joiners, fillers and variation selectors can carry
# words that only a model reads (Unicode: Default_Ignorable_Code_Point).
_UNDRAWN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
# Angle brackets, double quotes and what looks like them (full-width, small, struck through, other scripts' brackets and
# quotation marks) become single quotation marks: no tag can be formed, no quote closed, as a model reads it either.
_OPENING: Final = "<\uff1c\ufe64\u226e\u02c2\u2329\u3008\u27e8\u276c\u276e\u2770"
_CLOSING: Final = ">\uff1e\ufe65\u226f\u02c3\u232a\u3009\u27e9\u276d\u276f\u2771"
_QUOTES: Final = '"\uff02\u201c\u201d\u201e\u201f\u2033\u2036\u301d\u301e\u301f\u275d\u275e'
_QUIET: Final = str.maketrans(
    dict.fromkeys(_OPENING, "\u2039") | dict.fromkeys(_CLOSING, "\u203a") | dict.fromkeys(_QUOTES, "'")
)


def printable(text: str) -> str:
    """Return text for a terminal: newlines and tabs stay, every other control or hidden character is gone."""
    if text.isascii() and text.isprintable():
        return text
    bare = _UNDRAWN.sub("", _ANSI.sub("", text.replace("\r\n", "\n")))
    return "".join(char for char in bare if char in "\n\t" or unicodedata.category(char) not in _HIDDEN)


def visible(text: str) -> str:
    """Return text for a terminal in which nothing is missing: what `printable` leaves out is shown as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_shown(char) else char.encode("unicode_escape").decode("ascii") for char in text)


def _is_shown(char: str) -> bool:
    return char in "\n\t" or not (unicodedata.category(char) in _HIDDEN or _UNDRAWN.match(char))


def set_back(text: str, beginning: str = r"\[") -> str:
    """Return text as `printable` does, for among lines of ours: one that begins as these (a pattern) is set back."""
    return re.sub(rf"(?m)^(?={beginning})", " ", printable(text))


def one_line(text: str, limit: int) -> str:
    """Return text on one line of at most `limit` characters, cut with `…`. White space is collapsed."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def quiet(text: str, limit: int) -> str:
    """Return one line that is safe inside double quotes in a block that a model reads."""
    # A backslash before the quote that closes it could be read as escaping it.
    return one_line(text, limit).translate(_QUIET).rstrip("\\ ")
