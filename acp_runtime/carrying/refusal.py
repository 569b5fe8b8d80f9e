"""Why we answer a request ourselves, in the form that clients of model APIs understand."""

import json
from http import HTTPStatus

__all__ = ["Refusal"]


class Refusal(Exception):  # noqa: N818 - reads as what happened
    """A request that is answered with an error of ours. `code` is stable; the text is one sentence.

    `phrase` stands beside the status: of the answer to a CONNECT many programs show nothing else.
    """

    def __init__(self, status: int, code: str, sentence: str, *, phrase: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.phrase = phrase or HTTPStatus(status).phrase

    def body(self) -> bytes:
        """Return the error as JSON."""
        error = {"message": self.sentence, "type": "forwarder_error", "param": None, "code": self.code}
        return json.dumps({"error": error}).encode("ascii")
