"""The login of a subscription, where the vendor's own command line keeps it on this machine.

Promises: the tokens stay on this side; one that is about to expire, or was refused, is renewed first, by one process at
a time however many ask; what the vendor gave is written back as its command line does it, whole or not at all, with the
mode that the file had; and a login that the vendor renews no more is told as `login_expired`, and given to nobody until
there is another one, whatever its own words say of its end.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acp_runtime.clock import SystemClock
from acp_runtime.core.errors import Rejected
from acp_runtime.keys.client import Client, gemini_client
from acp_runtime.keys.file import read_private, stamp_of
from acp_runtime.keys.renewal import NotRenewed, is_dead, locked, mark_dead, renewed, replace_file
from acp_runtime.keys.secret import Secret
from acp_runtime.keys.vendors import INSTEAD, VENDORS, Tokens, Vendor
from acp_runtime.undumped import leave_no_core

__all__ = ["KeyLogin", "serves_login"]

EARLY: Final = 300.0  # seconds before its end in which a token is renewed: a request may last that long
AGAIN: Final = 20.0  # seconds until a vendor that could not be asked is asked again, while a token is valid
_BYTES: Final = 262_144
_PLACE: Final = re.compile(r"https://[!-~]+|http://127\.0\.0\.1(:\d+)?/[!-~]*")


@dataclass(frozen=True, slots=True)
class KeyLogin:
    """`login:VENDOR`, or `login:VENDOR@URL` for one that is renewed at another address than the vendor's."""

    vendor_name: str
    path: Path
    renewed_at: str
    search: str  # a PATH, along which a vendor's program is found
    runs = False

    @classmethod
    def parse(cls, rest: str, environ: Mapping[str, str]) -> "KeyLogin":
        """Read what stands behind the colon. Raises Rejected (`bad_key_source`), which does not repeat it."""
        name, at, url = rest.partition("@")
        if name in INSTEAD:
            raise Rejected("bad_key_source", f"login:{name} cannot be used: {INSTEAD[name]}.")
        vendor = VENDORS.get(name)
        if vendor is None or (at and not _PLACE.fullmatch(url)):
            known = " or ".join(f"login:{each}" for each in VENDORS)
            raise Rejected("bad_key_source", f"This is no login of a subscription; give {known}.")
        folder = environ.get(vendor.variable) or f"{environ.get('HOME', '')}/{vendor.folder}"
        return cls(name, Path(folder, vendor.file), url or vendor.renewed_at, environ.get("PATH", ""))

    @property
    def name(self) -> str:
        return f"login:{self.vendor_name}"

    @property
    def stamp(self) -> object:
        return stamp_of(self.path)

    @property
    def _vendor(self) -> Vendor:
        return VENDORS[self.vendor_name]

    @property
    def _client(self) -> Client | None:
        return self._vendor.client or gemini_client(self.search)

    async def read(self, refused: Secret | None = None) -> Secret:
        """Return a token that is valid for some time. Raises Rejected (`login_expired` and those of every source)."""
        return await asyncio.to_thread(self._read, refused)

    def _read(self, refused: Secret | None) -> Secret:
        tokens = self._stored()[1]
        if self._is_due(tokens, refused):
            with locked(self.path, self.name):
                document, tokens = self._stored()
                if self._is_due(tokens, refused):  # nobody else has renewed it meanwhile
                    tokens = self._renew(document, tokens, refused)
        until = None if tokens.until is None else max(tokens.until - EARLY, _now() + AGAIN)
        return Secret(tokens.access, name=self.name, remedy=self._vendor.again, beside=tokens.beside, until=until)

    def state(self) -> str:
        """Return in a few words how it stands. Nobody is asked and nothing is changed."""
        try:
            _, tokens = self._stored()
        except Rejected as error:
            return "not logged in" if error.kind == "key_missing" else "its file cannot be used"
        if is_dead(self.path, tokens.digest):
            return f"expired: {self._vendor.again}"
        return "there" if self._client else "there, until its token expires: no `gemini` is on the PATH to renew it"

    def _stored(self) -> tuple[Mapping[str, Any], Tokens]:
        leave_no_core()
        content = read_private(self.path, _BYTES, self.name)
        try:
            document = json.loads(content)
            return document, self._vendor.read(document)
        except (AttributeError, KeyError, TypeError, ValueError):
            sentence = f"The model's key {self.name}: there is no login of a subscription; {self._vendor.again}."
            raise Rejected("key_missing", sentence) from None  # what was read may be in the cause

    def _is_due(self, tokens: Tokens, refused: Secret | None) -> bool:
        if refused is not None and refused.reveal() == tokens.access.encode():
            return True
        if is_dead(self.path, tokens.digest):
            return True
        return tokens.until is not None and tokens.until - EARLY <= _now()

    def _renew(self, document: Mapping[str, Any], tokens: Tokens, refused: Secret | None) -> Tokens:
        dead = is_dead(self.path, tokens.digest)
        good = refused is None and not dead and tokens.until is not None and tokens.until > _now()
        if (client := self._client) is None and good:
            return tokens
        try:
            answer = renewed(self.renewed_at, client, tokens.refresh)
            try:
                new = self._vendor.merged(document, answer, _now())
                found = self._vendor.read(new)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
                raise NotRenewed("the vendor's answer holds no token", final=False) from None
        except NotRenewed as error:
            if not error.final and good:
                return tokens  # it is good for a moment yet, and the next request tries again
            if error.final:
                mark_dead(self.path, tokens.digest)
            remedy = self._vendor.again if error.final else "try again, or log in anew"
            sentence = f"The login {self.name} was not renewed: {error}; {remedy}."
            raise Rejected("login_expired" if error.final else "key_unreadable", sentence) from None
        replace_file(self.path, json.dumps(new, indent=2).encode(), self.name)
        return found


def serves_login(name: str, path: bytes) -> bool:
    """Tell whether a path below a model's base may be asked for with the key of a name; with no login all may."""
    vendor = VENDORS.get(name.removeprefix("login:")) if name.startswith("login:") else None
    return vendor is None or vendor.paths.fullmatch(path) is not None


def _now() -> float:
    return SystemClock().wall().timestamp()
