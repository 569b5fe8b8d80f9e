"""A key that a command of the user prints, such as that of a password manager."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.keys.program import printed
from acp_runtime.keys.secret import Secret

__all__ = ["KeyCommand"]


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """`command:PROGRAM ARGUMENTS`, quoted as in a shell, though none runs it."""

    argv: tuple[str, ...] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    runs = True
    stamp = None

    @classmethod
    def parse(cls, rest: str, environ: Mapping[str, str]) -> "KeyCommand":
        """Read what stands behind the colon. Raises Rejected (`bad_key_source`), which does not repeat it."""
        try:
            argv = tuple(shlex.split(rest))
        except ValueError as error:
            raise Rejected(
                "bad_key_source", "The command of a key has a quote that is not closed; close it."
            ) from error
        program = argv[0] if argv else ""
        if not program or ("/" in program and not program.startswith("/")):
            sentence = "The command of a key begins with no program; give one that is in PATH, or its absolute path."
            raise Rejected("bad_key_source", sentence)
        return cls(argv, environ)

    @property
    def name(self) -> str:
        """The program alone: an argument may say more than is to be seen."""
        return f"command:{one_line(self.argv[0], 200)}"

    async def read(self, refused: Secret | None = None) -> Secret:  # noqa: ARG002 - the protocol's signature
        value = await printed(self.argv, self.environ, name=self.name, remedy="try it in a terminal")
        return Secret(value, name=self.name, remedy="have the command print the key alone")
