"""A key that cannot be shown by accident.

Promises that neither `repr`, `str`, formatting nor pickling gives the value away, and that a secret which exists has
a value that fits into an HTTP header: a missing or empty key fails where it is read, not where it is sent. A process
that has one leaves no core dump.
"""

from typing import Final, NoReturn

from acp_runtime.core.errors import Rejected
from acp_runtime.undumped import leave_no_core

__all__ = ["LONGEST", "Secret"]

LONGEST: Final = 8192  # characters


class Secret:
    """A key, known by the name of its source. Compared by identity."""

    __slots__ = ("_value", "name")

    def __init__(self, value: str, *, name: str, remedy: str = "give another one") -> None:
        """Take a value; white space around it is dropped. Raises Rejected (`key_missing`, `key_malformed`).

        `remedy` says what to do about the source when it gave nothing, or no key.
        """
        leave_no_core()
        self.name = name
        self._value = value.strip()
        if not self._value:
            raise Rejected("key_missing", f"The model's key {name} is empty; {remedy}.")
        if len(self._value) > LONGEST or not all("!" <= character <= "~" for character in self._value):
            raise Rejected(
                "key_malformed",
                f"The model's key {name} cannot be sent in a header; "
                f"it must be one line of at most {LONGEST} visible ASCII characters: {remedy}.",
            )

    def reveal(self) -> bytes:
        """Return the value. Only what puts it on the wire, or takes it off, may call this."""
        return self._value.encode("ascii")

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")
