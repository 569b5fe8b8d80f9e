"""The daemon's door: who gets in, what is refused and in which words, and what has a bound."""

import asyncio
import json
import os
import select
import socket
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest

from acp_runtime import __version__
from acp_runtime.api import server, unix_client, web_server
from acp_runtime.api.daemon import Daemon, Ending, Terms
from acp_runtime.api.errors import DaemonError
from acp_runtime.api.exchange import Way
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.api.unix_socket import connect
from acp_runtime.callers import OPERATOR
from acp_runtime.client import RemoteRuntime
from acp_runtime.core.errors import Rejected, StoreError
from acp_runtime.service import Runtime
from tests.integration.api.conftest import BOUND, PARENT, Site, leave
from tests.integration.manager.conftest import log_says


def ask(site: Site, verb: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Send one raw request and return status and answer."""
    connection = HTTPConnection("localhost")
    connection.sock = connect(site.socket, BOUND)
    with closing(connection):
        connection.request(verb, path, body, {"X-Subagents-Version": __version__, **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


async def test_half_a_character_from_a_command_line_is_told_in_our_words(site: Site) -> None:
    async with site.daemon():
        with pytest.raises(Rejected, match="find: a text holds a lone surrogate"):
            await asyncio.to_thread(site.client.call, "find", OPERATOR, wanted="half \udc80")
        for seconds in (float("nan"), float("inf"), -1.0):
            with pytest.raises(Rejected, match=r"seconds is .*; it must be between"):
                await asyncio.to_thread(site.client.call, "wait", OPERATOR, subagents=["bg-none"], seconds=seconds)


async def test_another_version_is_told_the_remedy_and_still_gets_the_hello(site: Site) -> None:
    async with site.daemon():

        def as_another() -> None:
            status, answer = ask(site, "POST", "/v1/list_subagents", b"{}", **{"X-Subagents-Version": "9.9"})
            assert status == 426
            assert answer["kind"] == "version_mismatch"
            assert "this client is 9.9" in answer["error"]
            assert "subagents serve --replace" in answer["error"]
            assert ask(site, "GET", "/v1/hello", **{"X-Subagents-Version": "9.9"})[1]["version"] == __version__

        await asyncio.to_thread(as_another)


@pytest.mark.parametrize("path", ["list_subagents", "changed", "no_such_method"])
async def test_a_refusal_waits_for_the_body_so_that_it_is_read(site: Site, path: str) -> None:
    """A daemon that closes on a body it has not read takes its answer with it: the client would see a lost daemon."""

    def in_two_pieces() -> bytes:
        with connect(site.socket, BOUND) as connection:
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nX-Subagents-Version: 9.9\r\nConnection: close\r\n"
            connection.sendall(f"{head}Content-Length: 2\r\n\r\n".encode())
            ask(site, "GET", "/v1/hello")  # meanwhile the head was handled
            assert not select.select([connection], [], [], 0)[0], "it answers before the body is there"
            connection.sendall(b"{}")
            with connection.makefile("rb") as answer:
                return answer.readline()

    async with site.daemon():
        assert (await asyncio.to_thread(in_two_pieces)).startswith(b"HTTP/1.1 426 ")


async def test_both_clients_tell_another_version_as_theirs_to_mend(site: Site, monkeypatch: Any) -> None:
    async with site.daemon():
        monkeypatch.setattr(unix_client, "__version__", "9.9")
        with pytest.raises(DaemonError) as light:
            await asyncio.to_thread(site.client.call, "disk", OPERATOR)
        with pytest.raises(DaemonError) as heavy:
            async with RemoteRuntime.connect(site.socket):
                pass
    assert light.value.kind == heavy.value.kind == "version_mismatch"
    assert str(light.value) == str(heavy.value)


BAD_REQUESTS: list[tuple[str, str, bytes | None, int, str, str]] = [
    ("POST", "/v1/nothing", b"{}", 404, "unknown_method", "has no method nothing"),
    ("POST", "/v1/renew_lease", b"{}", 404, "unknown_method", "has no method renew_lease"),
    ("GET", "/v1/spawn", None, 405, "unknown_method", "GET /v1/spawn is not part"),
    ("GET", "/elsewhere", None, 404, "unknown_method", "not part of this interface"),
    ("POST", "/v1/status", b"no json", 400, "invalid", "status: the body: Invalid JSON"),
    ("POST", "/v1/status", b"[]", 400, "invalid", "status: the body"),
    ("POST", "/v1/status", b'{"subagent": "x"}', 400, "invalid", "caller is missing"),
    ("POST", "/v1/status", b'{"caller": {"parent": ""}, "subagent": "x"}', 400, "invalid", "the parent has no name"),
    ("POST", "/v1/status", b'{"caller": {"operator": false}, "subagent": "x"}', 400, "invalid", "either"),
    ("POST", "/v1/status", b'{"caller": {"parent": "p"}, "subagent": 5}', 400, "invalid", "subagent: Input"),
    ("POST", "/v1/status", b'{"caller": {"parent": "p"}, "subagent": "x", "y": 1}', 400, "invalid", "y: Extra"),
    ("POST", "/v1/status", b'{"caller": {"parent": "p"}, "subagent": "x"}', 404, "unknown_subagent", "x"),
    ("POST", "/v1/status", b'{"caller": {"parent": "p"}, "subagent": "\\ud800"}', 400, "invalid", "JSON"),
    ("POST", "/v1/status", b'{"caller": {"parent": "operator"}, "subagent": "x"}', 400, "invalid", "no name for"),
    ("GET", "/v1/wakeups?parent=operator", None, 400, "invalid", "no name for"),
    ("GET", "/v1/events?parent=&subagent=x", None, 400, "invalid", "no name"),
    ("POST", "/v1/wait", b'{"caller":{"parent":"p"},"subagents":["x"],"seconds":-1}', 400, "invalid", "seconds"),
    ("POST", "/v1/wait", b'{"caller":{"parent":"p"},"subagents":["x"],"seconds":1e9}', 400, "invalid", "seconds"),
    ("POST", "/v1/changed", b'{"tick": "x"}', 400, "invalid", "changed needs"),
    ("POST", "/v1/changed", b'{"tick": 1e999}', 400, "invalid", "changed needs"),
    ("POST", "/v1/changed", b"[" * 100_000, 400, "invalid", "changed needs"),
    ("GET", "/v1/wakeups", None, 400, "invalid", "who follows"),
    ("GET", "/v1/events?parent=p&subagent=x", None, 404, "unknown_subagent", "x"),
    ("GET", "/v1/events?parent=p&subagent=x&since=-1", None, 404, "unknown_subagent", "x"),
]


async def test_every_bad_request_gets_a_sentence_and_a_kind(site: Site) -> None:
    async with site.daemon():
        for verb, path, body, status, kind, words in BAD_REQUESTS:
            found, answer = await asyncio.to_thread(ask, site, verb, path, body)
            assert (found, answer["kind"]) == (status, kind), (path, body, answer)
            assert words in answer["error"], (path, body, answer)
            assert answer["data"] == {}


async def test_a_relative_workspace_is_refused_by_the_daemon_and_completed_by_the_client(site: Site) -> None:
    async with site.daemon():
        request = {"agent": "scripted", "workspace": "repo", "task": "x"}
        with pytest.raises(Rejected, match="the workspace repo is relative"):
            await asyncio.to_thread(site.client.call, "spawn", PARENT, request=request)
        async with RemoteRuntime.connect(site.socket) as remote:
            with pytest.raises(Rejected, match=f"the workspace {os.getcwd()}/nowhere does not exist"):  # noqa: PTH109
                await remote.spawn(PARENT, site.request("x", workspace=site.root.__class__("nowhere")))


async def test_a_body_has_a_bound(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "MAX_BODY", 1_000)
    async with site.daemon():
        with pytest.raises(Rejected, match="larger than 1000 bytes") as refused:
            await asyncio.to_thread(site.client.call, "send", PARENT, subagent="x", text="y" * 2_000)
    assert refused.value.kind == "too_large"


async def test_a_request_that_does_not_come_to_its_end_is_given_up(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.05)
    head = f"POST /v1/usage HTTP/1.1\r\nHost: x\r\nX-Subagents-Version: {__version__}\r\nContent-Length: 9\r\n\r\n{{"

    def half() -> bytes:
        with connect(site.socket, BOUND) as connection:
            connection.sendall(head.encode())
            return connection.recv(65536)

    async with site.daemon():
        assert (await asyncio.to_thread(half)).startswith(b"HTTP/1.1 504 ")


async def test_who_leaves_in_the_middle_of_a_request_is_no_bug_of_ours(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST /v1/usage HTTP/1.1\r\nHost: x\r\nX-Subagents-Version: {__version__}\r\nContent-Length: 9\r\n\r\n{{"

    def leave_early() -> None:
        with connect(site.socket, BOUND) as connection:
            connection.sendall(head.encode())
            ask(site, "GET", "/v1/hello")  # meanwhile the head was handled
        ask(site, "GET", "/v1/hello")

    async with site.daemon():
        await asyncio.to_thread(leave_early)
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


async def test_a_second_request_that_does_not_come_to_its_end_is_given_up_too(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(web_server, "ANSWER_SECONDS", 1.0)

    def one_and_a_half() -> bytes:
        with connect(site.socket, BOUND) as connection:
            connection.sendall(b"GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n")
            said = connection.recv(65536)
            connection.sendall(b"GET /v1/hel")
            while piece := connection.recv(65536):
                said += piece
            return said

    async with site.daemon():
        assert (await asyncio.to_thread(one_and_a_half)).startswith(b"HTTP/1.1 200 ")


async def test_a_watch_that_fails_is_told_in_the_log(site: Site) -> None:
    site.config = replace(site.config, on_nudge=("no\0program",))
    with log_says("on_nudge has failed, and is not done any more: a bug of ours") as said:
        async with site.daemon(), RemoteRuntime.connect(site.socket) as remote, asyncio.timeout(BOUND):
            await remote.spawn(OPERATOR, site.request("[[say:done]]"))
            await said.wait()


async def test_an_idle_daemon_whose_store_cannot_be_read_for_a_moment_ends_later(site: Site, monkeypatch: Any) -> None:
    broken = [StoreError("the disk said no")]
    whole = Runtime.list_subagents

    async def list_subagents(self: Runtime, *values: Any, **named: Any) -> Any:
        if broken:
            raise broken.pop()
        return await whole(self, *values, **named)

    monkeypatch.setattr(Runtime, "list_subagents", list_subagents)
    daemon = Daemon(site.config, site.launcher(), Terms(0.05))
    async with asyncio.timeout(BOUND):
        await daemon.run(lambda: None, leave)
    assert broken == []


async def test_a_call_that_takes_too_long_is_told_and_may_still_happen(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "CALL_SECONDS", server.MARGIN_SECONDS)
    async with site.daemon():
        with pytest.raises(DaemonError, match="was not done within 0 s; it may still happen") as late:
            await asyncio.to_thread(site.client.call, "list_subagents", PARENT)
    assert late.value.kind == "timeout"


async def test_a_bug_is_an_answer_too(site: Site, monkeypatch: Any) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("acp_runtime.service.Runtime.list_subagents", broken)
    async with site.daemon() as daemon:
        with pytest.raises(DaemonError, match="this is a bug, please report it: ZeroDivisionError: oops") as bug:
            await asyncio.to_thread(site.client.call, "list_subagents", PARENT)
        monkeypatch.undo()
        daemon.end(Ending.STOP)
    assert bug.value.kind == "internal_error"


async def test_events_are_followed_from_a_cursor_to_the_end(site: Site) -> None:
    async with site.daemon(), RemoteRuntime.connect(site.socket) as remote:
        view = await remote.spawn(PARENT, site.request("[[say:one]]"))
        params = {"operator": "true", "subagent": view.id, "since": "0"}
        following = asyncio.create_task(asyncio.to_thread(lambda: list(site.client.stream("/v1/events", params))))
        await remote.wait(PARENT, (view.id,), seconds=BOUND)
        await remote.stop(PARENT, view.id)
        async with asyncio.timeout(BOUND):
            told = await following
        page = await remote.poll(OPERATOR, view.id, since=0)
    assert [each["seq"] for each in told] == sorted({each["seq"] for each in told})
    assert "one" in [each["text"] for each in told]
    assert told[-1]["kind"] == page.rows[-1].kind == "ended"


async def test_the_end_of_a_daemon_ends_its_streams_and_waits(site: Site) -> None:
    async with site.daemon() as daemon, RemoteRuntime.connect(site.socket) as remote:
        view = await remote.spawn(PARENT, site.request("[[hang-politely]]"))
        wakeups = UnixClient(site.socket).stream("/v1/wakeups", {"parent": PARENT})
        await remote.spawn(PARENT, site.request("[[say:done]]"))
        assert await asyncio.to_thread(next, wakeups), "a stream that has told something is one that is followed"
        following = asyncio.create_task(asyncio.to_thread(lambda: list(wakeups)))
        call = site.client.call
        waiting = asyncio.create_task(asyncio.to_thread(call, "wait", PARENT, subagents=[view.id], seconds=BOUND))
        while remote.tick == (await remote.hello())["epoch"] << 32:
            await remote.status(PARENT, view.id)
        daemon.end(Ending.STOP)
        async with asyncio.timeout(BOUND):
            await asyncio.wait((following, waiting))
        error, broken = waiting.exception(), following.exception()
    assert isinstance(broken, Rejected)
    assert broken.kind == "closing"
    assert isinstance(error, Rejected | DaemonError)
    assert error.kind in ("closing", "daemon_unreachable"), "it was dropped, not answered"


async def test_a_call_in_flight_when_the_daemon_vanishes_is_told_as_unknown(site: Site) -> None:
    site.socket.parent.mkdir(mode=0o700)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(site.socket))
    listening.listen()

    def vanish() -> None:
        with listening:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)

    vanishing = asyncio.create_task(asyncio.to_thread(vanish))
    with pytest.raises(DaemonError, match="look at what it did before you ask again") as light:
        await asyncio.to_thread(site.client.call, "disk", PARENT)
    with pytest.raises(DaemonError) as heavy:
        async with RemoteRuntime.connect(site.socket):
            pass
    await vanishing
    assert light.value.kind == heavy.value.kind == "daemon_lost"


async def test_an_idle_daemon_ends_only_when_nothing_is_open_and_nobody_connected(site: Site) -> None:
    from acp_runtime.api.daemon import Daemon, Terms
    from acp_runtime.clock import ManualClock
    from tests.integration.api.conftest import leave

    clock = ManualClock()
    daemon = Daemon(site.config, site.launcher(), Terms(idle_exit=60.0), clock)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set, leave))
    async with asyncio.timeout(BOUND):
        await ready.wait()
        async with RemoteRuntime.connect(site.socket) as remote:
            view = await remote.spawn(PARENT, site.request("[[say:hi]]"))
            await remote.wait(PARENT, (view.id,), seconds=BOUND)
            for _ in range(3):
                clock.advance(61_000)
                await asyncio.wait((running,), timeout=0.05)
            assert (await remote.status(PARENT, view.id)).id == view.id, "ended with an open subagent"
            await remote.stop(PARENT, view.id)
        while not running.done():
            clock.advance(61_000)
            await asyncio.wait((running,), timeout=0.01)
        await running


async def test_who_waits_goes_on_with_the_next_daemon(site: Site) -> None:
    remote = RemoteRuntime(Way(site.socket, start=False))
    async with site.daemon():
        view = await remote.spawn(PARENT, site.request("[[hang-politely]]"))
        waiting = asyncio.create_task(remote.wait(PARENT, [view.id], seconds=BOUND))
        wakeups = remote.wakeups(PARENT)
        woken = asyncio.ensure_future(anext(wakeups))
        tick = remote.tick
        await remote.status(PARENT, view.id)
    async with site.daemon(), asyncio.timeout(BOUND):
        waited = await waiting
        assert (await woken).nudges
        await wakeups.aclose()
        await remote.changed(tick)
        assert remote.tick != tick
    assert (waited.reason, waited.views[0].id) == ("ended", view.id)
