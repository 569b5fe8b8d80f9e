"""A key in the keychain of the desktop, by the program that comes with it (`secret-tool`, of libsecret)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.keys.program import printed
from acp_runtime.keys.secret import Secret

__all__ = ["KeychainItem"]


@dataclass(frozen=True, slots=True)
class KeychainItem:
    """`keychain:SERVICE` or `keychain:SERVICE/ACCOUNT`: the item with these attributes `service` and `account`."""

    service: str
    account: str | None
    environ: Mapping[str, str] = field(repr=False)
    runs = True
    stamp = None

    @classmethod
    def parse(cls, rest: str, environ: Mapping[str, str]) -> "KeychainItem":
        """Read what stands behind the colon. Raises Rejected (`bad_key_source`), which does not repeat it."""
        service, slash, account = rest.partition("/")
        if not service.strip() or (slash and not account.strip()) or rest.startswith("-"):
            raise Rejected("bad_key_source", "The keychain's item has no name; give keychain:SERVICE/ACCOUNT.")
        return cls(service, account if slash else None, environ)

    @property
    def name(self) -> str:
        return one_line(f"keychain:{self.service}" + (f"/{self.account}" if self.account else ""), 200)

    @property
    def _attributes(self) -> tuple[str, ...]:
        return ("service", self.service, *(("account", self.account) if self.account is not None else ()))

    async def read(self, refused: Secret | None = None) -> Secret:  # noqa: ARG002 - the protocol's signature
        words = " ".join(quote(each) for each in self._attributes)
        remedy = f"store it: secret-tool store --label=model {words}"
        argv = ("secret-tool", "lookup", *self._attributes)
        value = await printed(argv, self.environ, name=self.name, remedy=remedy)
        return Secret(value, name=self.name, remedy=remedy)
