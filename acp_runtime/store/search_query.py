"""What a person types, as an expression of FTS5 in which every word is quoted: no text is an error.

`"two words"` is a phrase, `begin*` a beginning, `OR` between words an alternative; all else is a word that must stand
there. Punctuation divides words as it does in the index: `auth.py` is a phrase of two.
"""

import re
from typing import Final

MAX_TERMS: Final = 32
MAX_CHARS: Final = 1_000
_TERM: Final = re.compile(r'"([^"]*)"(\*?)|([^\s"]+)')


def match_all(query: str) -> str:
    """Return an expression for all words of a query, or of one of its alternatives; empty when it has none."""
    groups: list[list[str]] = [[]]
    for term in _terms(query):
        if term == "OR":
            groups.append([])
        else:
            groups[-1].append(term)
    return " OR ".join(f"({' AND '.join(group)})" for group in groups if group)


def match_any(query: str) -> str:
    """Return an expression for any word of a query; empty when it has none."""
    return " OR ".join(term for term in _terms(query) if term != "OR")


def _terms(query: str) -> list[str]:
    """Return quoted terms, and `OR` where it stands between two."""
    found: list[str] = []
    for match in _TERM.finditer(query[:MAX_CHARS]):
        phrase, star, word = match.groups()
        if word == "OR":
            found.append("OR")
            continue
        text = phrase if word is None else word
        prefix = bool(star) or (word is not None and word.endswith("*"))
        # What holds no letter and no digit is no word of the index.
        if any(char.isalnum() for char in text):
            found.append(f'"{_plain(text)}"{"*" if prefix else ""}')
    return found[:MAX_TERMS]


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() and char != '"' else " " for char in text).strip().rstrip("*")
