"""From the name of a host to addresses that were judged, on this side: a sandbox resolves nothing.

Promises: every address of a name is looked at, and one that must not be reached refuses the name, whatever else it has;
what is returned is numeric, so who connects to it asks nobody again. A lookup cannot be cut short, so it is waited for
within a bound, and no more than `MOST_LOOKUPS` are under way at once.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

from acp_runtime.egress.addresses import why_refused

__all__ = ["MOST_LOOKUPS", "Lookup", "NameRefused", "Resolver", "system_lookup"]

MOST_LOOKUPS: Final = 16
MOST_ADDRESSES: Final = 8  # of one name that are tried; all of them are judged

Lookup = Callable[[str, int], list[str]]
"""Returns the numeric addresses of a name, or raises OSError. It may block."""


class NameRefused(Exception):  # noqa: N818 - reads as what happened
    """A name leads nowhere, or where nobody may go. `code` is stable."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def system_lookup(host: str, port: int) -> list[str]:
    """Ask the system. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(each[4][0]) for each in found]


class Resolver:
    """Names for any number of sandboxes."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._under_way = 0

    async def resolve(self, host: str, port: int, *, private: bool, seconds: float) -> tuple[str, ...]:
        """Return the addresses of a canonical name, in the system's order. Raises NameRefused.

        `private`: the rule that let it through allows addresses that are not public.
        """
        # With its dot a name is whole: the system does not try the domains that it searches for short ones.
        absolute = host if private or "." not in host else f"{host}."
        try:
            async with asyncio.timeout(seconds):
                found = await self._look_up(absolute, port)
        except TimeoutError as error:
            raise NameRefused("name_unknown", f"{host} was not found within {seconds:g} s.") from error
        except (OSError, UnicodeError) as error:
            raise NameRefused("name_unknown", f"{host} was not found: {_why(error)}.") from error
        for address in found:
            if (what := why_refused(address, private=private)) is not None:
                sentence = f"{host} leads to {what}, where nothing of a sandbox goes."
                raise NameRefused("address_refused", sentence)
        if not found:
            raise NameRefused("name_unknown", f"{host} has no address.")
        return tuple(dict.fromkeys(found))[:MOST_ADDRESSES]

    async def _look_up(self, host: str, port: int) -> list[str]:
        """Look up in a thread that nobody waits for at the end of the process."""
        if self._under_way >= MOST_LOOKUPS:
            raise OSError("too many lookups are under way")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[str]] = loop.create_future()

        def tell(found: list[str] | BaseException) -> None:
            self._under_way -= 1
            if done.done():
                return
            if isinstance(found, BaseException):
                done.set_exception(found)
            else:
                done.set_result(found)

        def work() -> None:
            found: list[str] | BaseException
            try:
                found = self._lookup(host, port)
            except Exception as error:  # noqa: BLE001 - told to who waits
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, found)

        threading.Thread(target=work, name=f"lookup of {host}", daemon=True).start()
        self._under_way += 1
        return await done


def _why(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)
