"""The secret of a store by which its managers, and nobody else, reach the agents that they started.

It lies beside the store, readable by its user alone, so that a later manager of the store has it too.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from acp_runtime.store.ownership import sync_names

BYTES: Final = 32
TOKEN_CHARS: Final = 48


class HolderKey:
    """Makes the token of each attempt."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def beside(cls, store: Path) -> "HolderKey":
        """Read the key of the store at this path; make it when there is none. The caller owns the store."""
        path = store.with_suffix(".key")
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != BYTES:
            key = secrets.token_bytes(BYTES)
            _write(path, key)
        return cls(key)

    def token(self, subagent: str, attempt: int) -> str:
        message = f"{subagent}.{attempt}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:TOKEN_CHARS]

    def tools_token(self, subagent: str, attempt: int) -> str:
        """Return the secret by which the tools of an attempt know whose they are. It is kept nowhere."""
        return hmac.new(self._key, f"tools {subagent}.{attempt}".encode(), hashlib.sha256).hexdigest()


def _write(path: Path, key: bytes) -> None:
    partial = path.with_suffix(".key.new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_names(path.parent)
