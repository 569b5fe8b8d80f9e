"""A key while it is in use: what goes with the next request, and what follows when the model refused it.

A secret that is given as it is stays as it is. A live key knows its source: it is read again when a login is about to
expire, and once the model has refused what it gave, so that a key which was rotated meanwhile is found.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from acp_runtime.core.errors import Rejected
from acp_runtime.keys.program import passed
from acp_runtime.keys.secret import Secret
from acp_runtime.keys.source import KeySource, key_source
from acp_runtime.keys.variable import KeyVariable
from acp_runtime.keys.vendors import VENDORS

__all__ = ["Key", "LiveKey", "key_in_use", "key_or_none_yet"]

PAUSE: Final = 20.0  # seconds between two readings where the first was no use: a key that is wrong is asked for seldom


class Key(Protocol):
    """See the module. `name` is shown to people."""

    @property
    def name(self) -> str: ...

    async def current(self) -> Secret:
        """Return what the next request is given. Raises Rejected as its source does."""
        ...

    def refuse(self, secret: Secret) -> bool:
        """Hear that the model did not take a secret; return whether `current` may give another one now."""
        ...


class LiveKey:
    """A key with its source, of which `text` is what people wrote. Nothing is read before it is asked for.

    `environ` is all that the source needs of the variables, but for a key in one of them. `lacking`: its manager found
    none there; who has one of this source goes on with that.
    """

    def __init__(self, text: str, environ: Mapping[str, str], *, lacking: bool = False) -> None:
        """Take a source. Raises Rejected (`bad_key_source`)."""
        self.text, self.lacking = text, lacking
        folders = {vendor.variable for vendor in VENDORS.values()}
        self.environ = passed(environ) | {name: environ[name] for name in folders if name in environ}
        self._source: KeySource = key_source(text, environ)
        self._held: Secret | None = None
        self._refused: Secret | None = None
        self._renewed = self._failed = float("-inf")
        self._failure: tuple[str, str] | None = None  # kind and sentence
        self._failed_with: object = None  # the stamp of what could not be used
        self._reading = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._source.name

    async def current(self) -> Secret:
        async with self._reading:
            if self._held is None or self._held.is_due or self._refused is self._held:
                self._held = await self._read()
            return self._held

    async def _read(self) -> Secret:
        """Read the source; what it failed with a moment ago, it fails with, unless somebody has changed it since."""
        loop, stamp = asyncio.get_running_loop(), self._source.stamp
        if self._failure and loop.time() < self._failed + PAUSE and stamp == self._failed_with:
            raise Rejected(*self._failure)
        try:
            secret = await self._source.read(self._refused)
        except Rejected as error:
            self._failure, self._failed, self._failed_with = (error.kind, str(error)), loop.time(), stamp
            raise
        self._failure = None
        if self._refused is not None:
            self._refused, self._renewed = None, loop.time()
        return secret

    def refuse(self, secret: Secret) -> bool:
        if secret is self._held and asyncio.get_running_loop().time() >= self._renewed + PAUSE:
            self._refused = secret
        return self._held is not secret or self._refused is secret


async def key_in_use(text: str, environ: Mapping[str, str]) -> Key:
    """Read a source and return its key. Raises Rejected as it does, but for a login that has expired.

    That one is asked for when it is needed: somebody may have logged in by then. A variable cannot change under the
    process that has it, so its key is given as it is.
    """
    key = LiveKey(text, environ)
    try:
        secret = await key.current()
    except Rejected as error:
        if error.kind != "login_expired":
            raise
        return key
    return secret if isinstance(key_source(text, environ), KeyVariable) else key


async def key_or_none_yet(text: str, environ: Mapping[str, str]) -> Key:
    """Return the key of a source as `key_in_use` does, or one that lacks where that raises: it may come yet.

    Raises Rejected (`bad_key_source`).
    """
    try:
        return await key_in_use(text, environ)
    except Rejected:
        return LiveKey(text, environ, lacking=True)
