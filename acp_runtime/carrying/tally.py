"""Counts of what was carried."""

from dataclasses import dataclass

import h11

from acp_runtime.carrying.observer import Ending

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """What went through a server, or through one way of it: an observer of any number of exchanges at once.

    Bytes are those of bodies. A failure is a request that the upstream did not answer with a status below 400 and to
    its end, except when the client left. `last_error` is the sentence of the last one, without a full stop.
    """

    requests: int = 0
    failures: int = 0
    last_error: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0

    def on_request(self, request: h11.Request) -> None:  # noqa: ARG002 - the protocol's signature
        self.requests += 1

    def on_request_body(self, data: bytes) -> None:
        self.bytes_up += len(data)

    def on_answer(self, head: h11.Response) -> None:
        """Nothing is counted here: what becomes of it is known at the end."""

    def on_answer_body(self, data: bytes) -> None:
        self.bytes_down += len(data)

    def on_end(self, ending: Ending) -> None:
        if ending.failed:
            self.failures += 1
            self.last_error = (ending.why or "").rstrip(".")
