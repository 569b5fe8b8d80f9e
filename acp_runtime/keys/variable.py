"""A key in an environment variable of this process."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.keys.secret import Secret

__all__ = ["KeyVariable"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What `env:$NAME` becomes in a shell: many keys could be names, and a source is stored and shown.
_LIKE_A_KEY: Final = re.compile(r"(?=.*[a-z])(?=.*[0-9]).{20,}")


@dataclass(frozen=True, slots=True)
class KeyVariable:
    """`env:NAME`."""

    variable: str
    environ: Mapping[str, str] = field(repr=False)
    runs = False
    stamp = None

    @classmethod
    def parse(cls, rest: str, environ: Mapping[str, str]) -> "KeyVariable":
        """Read what stands behind the colon. Raises Rejected (`bad_key_source`), which does not repeat it."""
        if not _NAME.fullmatch(rest) or _LIKE_A_KEY.fullmatch(rest):
            sentence = "What stands behind env: is not the name of a variable; give env:NAME, never the key itself."
            raise Rejected("bad_key_source", sentence)
        return cls(rest, environ)

    @property
    def name(self) -> str:
        return f"env:{self.variable}"

    async def read(self, refused: Secret | None = None) -> Secret:  # noqa: ARG002 - the protocol's signature
        remedy = f"set the environment variable {self.variable} to the key alone"
        if self.variable not in self.environ:
            raise Rejected("key_missing", f"The model's key {self.name} is not in the environment; {remedy}.")
        return Secret(self.environ[self.variable], name=self.name, remedy=remedy)
