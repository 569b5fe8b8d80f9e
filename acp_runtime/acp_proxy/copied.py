"""One folder under two names: the editor's own, and the one that the copy of it has in the sandbox."""

import os
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

__all__ = ["Copied"]

_HERE: Final = ("", "localhost")


class Copied:
    """The folder `workspace` of this machine, of which the sandbox has a copy at `inside`."""

    def __init__(self, workspace: str, inside: str) -> None:
        self.workspace = os.path.realpath(workspace)
        self._inside = inside

    def inside(self, given: str) -> str | None:
        """Return a path of this machine as the sandbox has it, None for one that it has not."""
        try:
            return _moved(os.path.realpath(given), self.workspace, self._inside)
        except ValueError:  # no path can be so
            return None

    def outside(self, given: Any) -> Any:
        """Return a path of the sandbox as this machine has it; what is not in the folder as it is."""
        found = _moved(os.path.normpath(given), self._inside, self.workspace) if isinstance(given, str) else None
        return given if found is None else found

    def link(self, uri: Any) -> Any:
        """Return the address of a file of this machine as one of the sandbox's; what that has not as it is."""
        try:
            parts = urlsplit(uri if isinstance(uri, str) else "")
        except ValueError:
            return uri
        path = unquote(parts.path)
        if parts.scheme != "file" or parts.netloc not in _HERE or not path.startswith("/"):
            return uri
        found = self.inside(path)
        if found is None:
            return uri
        # Names of files are bytes: a link may lead to one that is no text.
        return urlunsplit(("file", "", quote(os.fsencode(found)), parts.query, parts.fragment))


def _moved(path: str, here: str, there: str) -> str | None:
    if path != here and not path.startswith(here.rstrip("/") + "/"):
        return None
    below = os.path.relpath(path, here)
    return there if below == "." else f"{there.rstrip('/')}/{below}"
