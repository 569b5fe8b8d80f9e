"""A key that cannot be shown by accident.

Promises that neither `repr`, `str`, formatting nor pickling gives the value away, and that a secret which exists has
a value that fits into an HTTP header: a missing or empty key fails where it is read, not where it is sent.
"""

from collections.abc import Mapping
from typing import NoReturn

from acp_runtime.core.errors import Rejected

__all__ = ["Secret"]

_MAX_LENGTH = 8192


class Secret:
    """The value of an environment variable, known by the variable's name. Compared by identity."""

    __slots__ = ("_value", "name")

    def __init__(self, value: str, *, name: str) -> None:
        """Take a value; white space around it is dropped. Raises Rejected (`key_missing`, `key_malformed`)."""
        self.name = name
        self._value = value.strip()
        if not self._value:
            raise Rejected("key_missing", f"The model's key {name} is empty; set the environment variable {name}.")
        if len(self._value) > _MAX_LENGTH or not all("!" <= character <= "~" for character in self._value):
            raise Rejected(
                "key_malformed",
                f"The model's key {name} cannot be sent in a header; "
                f"it must be one line of at most {_MAX_LENGTH} visible ASCII characters.",
            )

    @classmethod
    def read(cls, environ: Mapping[str, str], name: str) -> "Secret":
        """Take the key from the variable `name`. Raises Rejected when the variable is missing, empty or malformed."""
        if name not in environ:
            raise Rejected("key_missing", f"The model's key {name} is not in the environment; set {name}.")
        return cls(environ[name], name=name)

    def reveal(self) -> bytes:
        """Return the value. Only what puts it on the wire, or takes it off, may call this."""
        return self._value.encode("ascii")

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")
