"""What a manager and its gateway tell each other when something cannot be done."""

__all__ = ["GatewayError"]


class GatewayError(Exception):
    """Something could not be done. `kind` is stable; the text is one sentence, and holds no secret."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
