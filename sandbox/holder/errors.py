"""What a holder refuses, by the name it gives.

    SandboxError
    └── HolderError            with the holder's own name for the reason as `kind`, when it has no class here
        ├── EpochRefused       a later owner has taken the agent over
        ├── TokenRefused       the token is not the one the holder was started with
        ├── VersionRefused     the holder speaks another version
        ├── OffsetRefused      what is asked for was acknowledged and deleted, or never written
        ├── Replaced           another client came with the token and no lower epoch
        ├── InputRefused       a line was not accepted, nothing of it
        ├── AgentNotStarted    the holder could not start the agent
        ├── HolderGone         nobody answers at the socket
        └── FramesCorrupt      what came is not what a holder sends

`kind` is always the name on the wire, or `link_ended` when a link ended without one; `about` is the number that the
holder gave with it (its epoch, its version, an offset), 0 where it gave none.
"""

from sandbox.errors import SandboxError


class HolderError(SandboxError):
    """A holder refused; the text is its sentence."""

    kind = "holder_error"

    def __init__(self, kind: str, sentence: str, about: int = 0) -> None:
        super().__init__(sentence)
        self.kind = kind  # type: ignore[misc]  # the wire names it
        self.about = about


class EpochRefused(HolderError):  # noqa: N818 - reads as what happened, as all below
    """`about` is the epoch that the agent belongs to now."""


class TokenRefused(HolderError):  # noqa: N818
    """The agent belongs to somebody else."""


class VersionRefused(HolderError):  # noqa: N818
    """`about` is the version that the holder speaks."""


class OffsetRefused(HolderError):  # noqa: N818
    """`about` is the first (`offset_gone`) or the last (`offset_refused`) offset that can be asked for."""


class Replaced(HolderError):  # noqa: N818
    """`about` is the epoch of who came."""


class InputRefused(HolderError):  # noqa: N818
    """`about` is the offset of the line."""


class AgentNotStarted(HolderError):  # noqa: N818
    """Nothing of the agent or its holder runs."""


class HolderGone(HolderError):  # noqa: N818
    """The holder has ended, or was never there."""

    @property
    def late(self) -> bool:
        """Whether no more is known than that nothing came in time: the holder may be paused, or short of time."""
        return isinstance(self.__cause__, TimeoutError)

    @property
    def nobody(self) -> bool:
        """Whether it was said, by `holder attach` or the socket, that nobody is there; a link may break by itself."""
        return self.kind == "holder_gone" and not self.late


class FramesCorrupt(HolderError):  # noqa: N818
    """The connection is of no use any more; the journal is untouched."""


_CLASSES: dict[str, type[HolderError]] = {
    "epoch_refused": EpochRefused,
    "token_refused": TokenRefused,
    "version_refused": VersionRefused,
    "offset_gone": OffsetRefused,
    "offset_refused": OffsetRefused,
    "replaced": Replaced,
    "agent_failed": AgentNotStarted,
    "holder_gone": HolderGone,
}


def error_from(text: str, about: int) -> HolderError:
    """Make the error that a holder told as `name: sentence`."""
    kind, _, sentence = text.partition(": ")
    return _CLASSES.get(kind, HolderError)(kind, sentence or text, about)
