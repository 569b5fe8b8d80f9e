"""Lines in their order: a bug in what is done with one of them keeps no other back."""

import asyncio
import logging
from typing import Any

import pytest

from acp_runtime.acp_proxy.ordered import Ordered, Passed
from acp_runtime.wire.ndjson import Oversized

pytestmark = pytest.mark.requirement("D10.20")


async def broken() -> list[bytes]:
    raise LookupError("a bug")


def handled(line: bytes | Oversized) -> Passed:
    assert isinstance(line, bytes)
    if line == b"broken at once":
        raise LookupError("a bug")
    return broken() if line == b"broken" else [line]


async def test_what_comes_behind_a_message_that_was_held_in_vain_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    written: list[bytes] = []
    held: list[bool] = []
    ordered = Ordered(handled, written.extend, held.append)
    ordered.put([b"one", b"broken", b"two"])
    assert (written, held, ordered.waiting > 0) == ([b"one"], [True], True)
    with caplog.at_level(logging.ERROR):
        await ordered.empty(30.0)
        await asyncio.sleep(0)  # its callback tells the loop
    assert (written, held, ordered.waiting) == ([b"one", b"two"], [True, False], 0)
    assert "a bug" in caplog.text, "it is told"


def test_what_came_before_and_behind_a_message_that_broke_at_once_goes_on() -> None:
    written: list[Any] = []
    ordered = Ordered(handled, written.extend, lambda _: None)
    with pytest.raises(LookupError):
        ordered.put([b"one", b"broken at once", b"two"])
    ordered.put([b"three"])
    assert written == [b"one", b"two", b"three"]
