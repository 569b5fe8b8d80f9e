"""A holder that refuses a manager: the log says why, and its agent goes on, and is had again by who may have it."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from sandbox.holder import frames
from tests.contract.conftest import PARENT, Place
from tests.contract.test_adoption import inside, killed
from tests.contract.test_last_words import given_up

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.requirement("D08.5"),
]

AGENT_LOG = "acp_runtime.manager.docker_agent"


@contextmanager
def heard(words: str) -> Iterator[asyncio.Event]:
    """Give what is set once the manager has logged this of an agent."""
    event = asyncio.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                event.set()

    ear, log = Ear(), logging.getLogger(AGENT_LOG)
    level = log.level
    log.addHandler(ear)
    log.setLevel(logging.INFO)
    try:
        yield event
    finally:
        log.removeHandler(ear)
        log.setLevel(level)


@pytest.mark.parametrize(
    ("refused", "words"), [("token", "the token is wrong"), ("version", "this holder speaks version")]
)
async def test_a_refusal_is_logged_with_its_reason_and_costs_the_agent_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, refused: str, words: str
) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    hello = frames.hello
    async with place.runtime() as runtime:
        with monkeypatch.context() as changed, heard(words) as told:
            if refused == "token":
                changed.setattr(frames, "hello", lambda token, *rest: hello(token[::-1], *rest))
            else:
                changed.setattr(frames, "VERSION", frames.VERSION + 8)
            async with asyncio.timeout(place.bound):
                await told.wait()
            assert (await runtime.status(PARENT, subagent)).status is Status.LOST
        inside(place, "touch go")
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause
        assert view.attempt == 1


async def noted(place: Place, runtime: Runtime, subagent: str, kind: str) -> None:
    """Wait until the subagent's log tells something of this kind."""
    async with asyncio.timeout(place.bound):
        while True:
            tick = runtime.tick
            if any(row.kind == kind for row in (await runtime.poll(PARENT, subagent, since=0)).rows):
                return
            await runtime.changed(tick)


async def test_a_refusal_that_lasts_is_logged_once_by_name_and_is_the_cause_of_the_end(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    hello, tries, thrice = frames.hello, [], asyncio.Event()

    def forged(token: str, *rest: int) -> bytes:
        tries.append(token)
        if len(tries) > 2:
            thrice.set()
        return hello(token[::-1], *rest)

    monkeypatch.setattr(frames, "hello", forged)
    place.clock = ManualClock()
    async with place.runtime() as runtime:
        await noted(place, runtime, subagent, "recovery_refused")
        async with asyncio.timeout(place.bound):
            await thrice.wait()
        await given_up(place, runtime, subagent)
        view = await place.until(runtime, subagent, lambda each: each.newest.state.over)
        words = "its holder refused this manager (token_refused): the token is wrong"
        assert (view.newest.state, view.newest.result) == (TaskState.INTERRUPTED, "one")
        assert words in view.newest.cause
        assert words in (view.cause or "")
        async with runtime.turn(PARENT) as turn:
            assert words in turn.text
    warned = [each for each in caplog.records if each.levelno == logging.WARNING and words in each.getMessage()]
    assert len(warned) == 1
