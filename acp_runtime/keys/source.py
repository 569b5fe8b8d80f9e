"""Where a key comes from, as people write it, such as `env:NAME`, `file:PATH` or `login:VENDOR`.

A source may read files and run programs of this user, so its text comes from the user's command line, configuration or
program only: no tool of a model takes one, and nothing in a workspace is looked at.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from acp_runtime.core.errors import Rejected
from acp_runtime.keys.command import KeyCommand
from acp_runtime.keys.file import KeyFile
from acp_runtime.keys.keychain import KeychainItem
from acp_runtime.keys.login import KeyLogin
from acp_runtime.keys.secret import Secret
from acp_runtime.keys.variable import KeyVariable

__all__ = ["KeySource", "is_login", "key_source"]

FORMS: Final = "env:NAME, file:PATH, keychain:SERVICE/ACCOUNT, command:PROGRAM ARGUMENTS or login:VENDOR"


def is_login(text: str | None) -> bool:
    """Tell whether a source is the login of a subscription, by what people wrote or by its name."""
    return text is not None and text.startswith("login:")


class KeySource(Protocol):
    """Gives a key each time it is read. `name` is shown to people and never holds a key."""

    @property
    def name(self) -> str: ...

    @property
    def runs(self) -> bool:
        """Whether reading it runs a program, which takes its time and may ask the user something."""
        ...

    @property
    def stamp(self) -> object:
        """What differs once somebody has changed the source, where that is seen without reading it; None elsewhere."""
        ...

    async def read(self, refused: Secret | None = None) -> Secret:
        """Return the key as it is now, another one than `refused` where the source can have one made.

        Raises Rejected (`key_missing`, `key_malformed`, `key_unreadable`, `login_expired`).
        """
        ...


def key_source(text: str, environ: Mapping[str, str]) -> KeySource:
    """Return the source that a text names; nothing is read yet.

    Raises Rejected (`bad_key_source`), which does not repeat the text: it may be the key itself.
    """
    form, colon, rest = text.partition(":")
    if colon and rest.strip() and "\0" not in rest:
        match form:
            case "env":
                return KeyVariable.parse(rest, environ)
            case "file":
                return KeyFile.parse(rest, environ)
            case "keychain":
                return KeychainItem.parse(rest, environ)
            case "command":
                return KeyCommand.parse(rest, environ)
            case "login":
                return KeyLogin.parse(rest, environ)
    raise Rejected("bad_key_source", f"This is no source of a key; give {FORMS}, never the key itself.")
