"""What is told of each thing that a sandbox asked to reach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from acp_runtime.carrying.observer import How

__all__ = ["Contact", "Tell", "Way"]

Way = Literal["tunnel", "http", "registry", "none"]


@dataclass(frozen=True, slots=True)
class Contact:
    """One connection or request that is over, or that was refused.

    `end` is as of an exchange, see `Ending`. `host` is canonical, empty where none could be read. `allowed_by` is a
    rule's text or `registry NAME`; `refused` the code of the refusal and `why` its sentence, empty where all went well.
    Nothing that a sandbox could have put words into stands here but `path`, which is printable ASCII and cut. Bytes are
    those of the tunnel, or those of bodies.
    """

    way: Way
    end: How
    host: str = ""
    port: int = 0
    method: str = ""
    path: str = ""
    allowed_by: str = ""
    refused: str = ""
    why: str = ""
    status: int | None = None
    bytes_up: int = 0
    bytes_down: int = 0


Tell = Callable[[Contact], None]
"""Takes a contact; returns at once and raises nothing."""
