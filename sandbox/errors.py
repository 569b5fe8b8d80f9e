"""What can go wrong below the launcher, as one tree.

    SandboxError
    ├── EngineError            the engine refused or failed a call
    │   ├── EngineUnreachable  nothing answers at the endpoint
    │   ├── EngineDenied       the endpoint is there, this user may not use it
    │   ├── EngineTimeout      the engine did not answer within the bound
    │   ├── EngineRefused      the engine answered with an error status, kept as `status`
    │   ├── NameTaken          a container or volume of that name exists and is not ours
    │   └── Fenced             a container or volume belongs to a later manager of the same store
    ├── ImageMissing           the image is neither here nor can be had
    ├── RuntimeMissing         the engine has no runtime of that name
    ├── ProgramMissing         a program of ours that runs inside containers was not built
    ├── SandboxGone            the container does not exist or does not run any more
    ├── CommandMissing         the program to execute is not in the image
    ├── CommandTimeout         a command did not end within its bound and was killed
    ├── ChannelClosed          bytes were to be sent on a channel that has ended
    │   └── ChannelStalled     the program does not read its input; the channel itself is still open
    ├── StreamCorrupt          what the engine sends on a channel is not its own framing
    ├── SettingRefused         a setting is none that a sandbox may have, and is not named `unsafe_`
    ├── SameUser               this process runs as the user that agents run as
    └── WorkspaceError         the folder cannot be taken in, or the work cannot be taken out

Each error's text is one sentence that says what happened, which value, and what to do next; `kind` is stable and
is what callers branch on.
"""

from typing import ClassVar


class SandboxError(Exception):
    """Root of the tree; never raised itself."""

    kind: ClassVar[str] = "sandbox_error"


class EngineError(SandboxError):
    """What has no name of its own among the errors of the engine."""

    kind = "engine_error"


class EngineUnreachable(EngineError):  # noqa: N818 - reads as what happened
    """Nothing answers at the endpoint."""

    kind = "engine_unreachable"


class EngineDenied(EngineError):  # noqa: N818
    """The socket is there, but this user may not open it."""

    kind = "engine_denied"


class EngineTimeout(EngineError):  # noqa: N818
    """The engine did not answer within the bound; whether it acted is unknown."""

    kind = "engine_timeout"


class EngineRefused(EngineError):  # noqa: N818
    """The engine answered a call with an error; `status` is that of HTTP."""

    kind = "engine_refused"

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class NameTaken(EngineError):  # noqa: N818
    """A container or a volume of that name exists already; it was left alone."""

    kind = "name_taken"


class Fenced(EngineError):  # noqa: N818
    """A later manager of the same store owns it; this one was replaced, and left it alone."""

    kind = "fenced"


class ImageMissing(SandboxError):  # noqa: N818
    """The image is not on the engine and could not be pulled or built."""

    kind = "image_missing"


class RuntimeMissing(SandboxError):  # noqa: N818
    """The engine cannot run containers with a runtime of that name."""

    kind = "runtime_missing"


class ProgramMissing(SandboxError):  # noqa: N818
    """Relay or holder for the engine's architecture is not there, or is not the file that was built."""

    kind = "program_missing"


class SandboxGone(SandboxError):  # noqa: N818
    """The container was removed, or has exited."""

    kind = "sandbox_gone"


class CommandMissing(SandboxError):  # noqa: N818
    """The engine could not execute the program: it is not in the image, or not executable."""

    kind = "command_missing"


class CommandTimeout(SandboxError):  # noqa: N818
    """The command ran longer than its bound; the text says whether it and what it had started are known to be dead."""

    kind = "command_timeout"


class ChannelClosed(SandboxError):  # noqa: N818
    """The channel has ended; nothing was sent."""

    kind = "channel_closed"


class ChannelStalled(ChannelClosed):
    """The program has not read its input for too long; nothing of this message was sent, the channel is still open."""

    kind = "channel_stalled"


class StreamCorrupt(SandboxError):  # noqa: N818
    """A channel carried bytes that are not the engine's framing; nothing after them can be trusted."""

    kind = "stream_corrupt"


class SettingRefused(SandboxError):  # noqa: N818
    """A setting was asked for that no sandbox may have, or not without its `unsafe_` name."""

    kind = "setting_refused"


class SameUser(SandboxError):  # noqa: N818
    """The user of this process is that of agents: they would own its files."""

    kind = "same_user"


class WorkspaceError(SandboxError):
    """The workspace could not be taken in or out."""

    kind = "workspace_error"
