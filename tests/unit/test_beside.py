"""What goes on beside a block."""

import asyncio
import logging

import pytest

from acp_runtime.beside import beside


async def test_what_fails_beside_a_block_is_told_at_once_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    failed, told = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def fail() -> None:
        failed.set()
        raise ZeroDivisionError

    async def go_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("go on")

    handler = logging.Handler()
    handler.emit = lambda _: told.set()  # type: ignore[method-assign]
    logging.getLogger("acp_runtime.beside").addHandler(handler)
    try:
        async with asyncio.timeout(30), beside(fail=fail, other=go_on):
            await failed.wait()
            await told.wait()
            assert ended == []
    finally:
        logging.getLogger("acp_runtime.beside").removeHandler(handler)
    assert ended == ["go on"]
    assert "fail has failed" in caplog.text


async def test_a_block_that_is_left_at_once_leaves_nothing_of_what_was_to_go_on() -> None:
    async def go_on() -> None:
        await asyncio.Event().wait()

    async with beside(one=go_on, two=go_on):
        pass
    assert {"one", "two"}.isdisjoint(each.get_name() for each in asyncio.all_tasks())
