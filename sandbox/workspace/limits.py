"""The bounds of moving a folder in and its changes out."""

from dataclasses import dataclass, fields

from sandbox.errors import WorkspaceError

__all__ = ["WorkspaceLimits"]

MIB = 1_048_576


@dataclass(frozen=True, kw_only=True)
class WorkspaceLimits:
    """What one workspace may cost; each is a positive number, else `WorkspaceError`.

    content_bytes  files of the folder together, and the largest single file that is taken out again
    history_bytes  the packed history of HEAD; a larger one stays behind, with a notice
    entries        files and folders that are looked at
    patch_bytes    the patch
    seconds        one call of git
    """

    content_bytes: int = 2048 * MIB
    history_bytes: int = 2048 * MIB
    entries: int = 1_000_000
    patch_bytes: int = 64 * MIB
    seconds: float = 600

    def __post_init__(self) -> None:
        for field in fields(self):
            if (value := getattr(self, field.name)) <= 0:
                raise WorkspaceError(f"The limit {field.name} of a workspace is {value}; give a number above zero.")
