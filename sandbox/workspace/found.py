"""What lies in the work volume, as lists of paths that decide what becomes of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sandbox.errors import WorkspaceError
from sandbox.workspace.survey import refused_by_git
from sandbox.workspace.text import named

__all__ = ["REPOSITORY_MODE", "Found", "sections"]

FILE_MODES = {b"100644", b"100755", b"120000"}
REPOSITORY_MODE = b"160000"


@dataclass
class Found:
    """Paths relative to the work volume; those of folders end with a slash.

    add, remove   what the index gets and loses
    nested        repositories inside of the work, to be looked into
    ignored       what a rule leaves out
    closed        what cannot be opened or read
    refused       names that git refuses
    """

    ignored: list[bytes]
    closed: list[bytes]
    add: set[bytes] = field(default_factory=set)
    remove: set[bytes] = field(default_factory=set)
    nested: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    def take_changes(self, raw: list[bytes]) -> None:
        """Take in `git diff-files --raw -z`: tracked files that differ, or may."""
        for change, path in zip(raw[0::2], raw[1::2], strict=True):
            mode = change.split(b" ")[1]
            (self.add if mode in FILE_MODES else self.remove).add(path)
            if mode == REPOSITORY_MODE:
                self.nested.append(path + b"/")

    def take_others(self, paths: Iterable[bytes]) -> None:
        """Take in paths that are not tracked; git lists a repository as its folder."""
        for path in paths:
            if any(refused_by_git(name, is_link=False) for name in path.split(b"/")):
                self.refused.append(path)
            elif path.endswith(b"/"):
                self.nested.append(path)
            else:
                self.add.add(path)

    def notices(self) -> tuple[str, ...]:
        """One sentence a reason, for the user."""
        reasons = (
            ("Not in the patch, because an ignore rule names them", self.ignored),
            ("Not in the patch, because they cannot be read", self.closed),
            ("Not in the patch, because git refuses such names", self.refused),
            ("In the patch as plain files, without their history: the repositories", self.nested),
        )
        return tuple(f"{reason}: {named(paths)}." for reason, paths in reasons if paths)


def sections(output: bytes, count: int) -> list[list[bytes]]:
    """Split lists of NUL-terminated words, with an empty word between two lists."""
    lists: list[list[bytes]] = [[]]
    for word in output.split(b"\0"):
        if word:
            lists[-1].append(word)
        else:
            lists.append([])
    if lists.pop() or len(lists) != count:
        raise WorkspaceError("Git's list of the work broke off; try again.")
    return lists
