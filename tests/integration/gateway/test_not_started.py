"""A gateway that cannot be started: it is said why for as long as that is so, and all recovers by itself."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acp_runtime.clock import SystemClock
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.manager import gateway_finder
from acp_runtime.manager.gateway_finder import GatewayFinder
from tests.integration.gateway.gateway_site import GatewaySite
from tests.integration.gateway.test_hang import served
from tests.integration.http_ends import BOUND, echo, upstream


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not met():  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.requirement("D09.40")
async def test_a_gateway_that_cannot_be_started_is_told_with_the_reason_until_it_can_and_serves_all_again(
    site: GatewaySite,
):
    async with upstream(echo) as model:
        link = site.link()
        await link.open(lambda: site.account(model.url))
        assert link.trouble == ""
        site.place.socket.unlink()
        site.place.socket.mkdir()
        await site.ended(site.kill(signal.SIGKILL))
        await until(lambda: "could not be started" in link.trouble)
        with pytest.raises(GatewayError, match="could not be started"):
            await site.link().open(lambda: site.account(model.url, subagent="bg-2"))
        site.place.socket.rmdir()
        await served(site.socket)
        assert link.trouble == ""


@pytest.mark.requirement("D09.40")
async def test_a_gateway_that_says_nothing_when_it_is_started_is_ended_and_told(
    site: GatewaySite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    silent = program(tmp_path / "silent", f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    monkeypatch.setattr(sys, "executable", str(silent))
    monkeypatch.setattr(gateway_finder, "START_SECONDS", 0.5)
    finder = GatewayFinder(site.place, 1, 60, os.environ, SystemClock())
    with pytest.raises(GatewayError, match=r"has not said within 0\.5 s"):
        await finder.find()
    assert not started(tmp_path / "pid")


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o700)
    return path


def started(path: Path) -> bool:
    """Whether the process of which this file tells lives."""
    return path.exists() and Path(f"/proc/{path.read_text().strip()}").exists()


@pytest.mark.requirement("D09.40")
async def test_a_gateway_that_took_the_place_of_the_one_that_hung_is_not_ended_for_it(site: GatewaySite):
    async with upstream(echo) as model:
        await site.link().open(lambda: site.account(model.url))
        pid = site.pid
        await GatewayFinder(site.place, 1, 60, os.environ, SystemClock()).end(pid + 1)
        assert site.pid == pid
