"""A key that cannot be shown by accident.

Promises that neither `repr`, `str`, formatting nor pickling gives the value away, and that a secret which exists has
a value that fits into an HTTP header: a missing or empty key fails where it is read, not where it is sent. A process
that has one leaves no core dump.
"""

from typing import Final, NoReturn

from acp_runtime.clock import SystemClock
from acp_runtime.core.errors import Rejected
from acp_runtime.undumped import leave_no_core

__all__ = ["LONGEST", "Secret"]

LONGEST: Final = 8192  # characters


class Secret:
    """A key, known by the name of its source. Compared by identity.

    `beside`: other headers that go with a token, which is a bearer whatever form a key would have; None for a key.
    `until`: the moment of the wall clock, in seconds, from which its source has a newer one. As a `Key` it stays.
    """

    __slots__ = ("_value", "beside", "name", "until")

    def __init__(
        self,
        value: str,
        *,
        name: str,
        remedy: str = "give another one",
        beside: tuple[tuple[bytes, bytes], ...] | None = None,
        until: float | None = None,
    ) -> None:
        """Take a value; white space around it is dropped. Raises Rejected (`key_missing`, `key_malformed`).

        `remedy` says what to do about the source when it gave nothing, or no key.
        """
        leave_no_core()
        self.name, self.beside, self.until = name, beside, until
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

    @property
    def is_due(self) -> bool:
        """Whether its source is to be read again."""
        return self.until is not None and self.until <= SystemClock().wall().timestamp()

    async def current(self) -> "Secret":
        return self

    def refuse(self, secret: "Secret") -> bool:  # noqa: ARG002 - the protocol's signature
        """Return that there is nothing else to be given."""
        return False

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")
