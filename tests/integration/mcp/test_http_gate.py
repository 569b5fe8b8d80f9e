"""Who may come in at the daemon's port of 127.0.0.1, and what else has a bound there."""

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from acp_runtime.mcp import web
from tests.integration.api.conftest import BOUND, Site
from tests.integration.mcp.door import HELLO, Door, door, door_of, served, site, told_of

__all__ = ["door", "served", "site"]


@pytest.mark.requirement("T18")
@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"Authorization": None}, 401, "the header Authorization must be"),
        ({"Authorization": "Bearer wrong"}, 401, "the header Authorization must be"),
        ({"Authorization": "Basic TOKEN"}, 401, "the header Authorization must be"),
        ({"Host": "evil.example:80"}, 421, "the header Host names another server"),
        ({"Host": "127.0.0.1:1"}, 421, "the header Host names another server"),
        ({"Origin": "http://evil.example"}, 403, "the header Origin names another site"),
        ({"Origin": "null"}, 403, "the header Origin names another site"),
        ({"path": "/v1/hello"}, 404, "nothing is served here"),
        ({"path": "/mcp/"}, 404, "nothing is served here"),
    ],
)
async def test_who_may_not_come_in_is_told_why_in_the_form_of_the_protocol(
    door: Door, changes: dict[str, str | None], status: int, said: str
) -> None:
    changes = dict(changes)
    url = door.url.replace("/mcp", changes.pop("path", None) or "/mcp")
    given = {name: value for name, value in (door.headers() | changes).items() if value is not None}
    given = {name: value.replace("TOKEN", door.token) for name, value in given.items()}
    async with httpx.AsyncClient(timeout=BOUND) as http:
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        answer = await http.post(url, json=hello, headers=given)
    assert answer.status_code == status
    body = answer.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", None)
    assert said in body["error"]["message"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.requirement("T18")
async def test_an_own_page_and_the_other_name_of_this_machine_may_come_in(door: Door) -> None:
    port = urlsplit(door.url).port
    async with door.http(Host=f"localhost:{port}", Origin=f"http://localhost:{port}") as http:
        assert (await door.post("initialize", http=http, **HELLO)).status_code == 200


@pytest.mark.requirement("T18")
async def test_a_request_beyond_the_bound_is_refused_and_the_door_stays_open(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BODY", 10_000)
    async with door.http() as http:
        answer = await door.post("initialize", http=http, **HELLO, more="x" * 20_000)
        assert answer.status_code == 413
        assert "larger than 10000 bytes" in answer.json()["error"]["message"]
        assert (await door.post("initialize", http=http, **HELLO)).status_code == 200


@pytest.mark.requirement("T18")
async def test_a_request_of_more_values_than_a_message_may_hold_is_refused_unread(door: Door) -> None:
    async with door.http() as http:
        answer = await http.post(door.url, content=b"[" + b"[]," * 200_000 + b"1]")
        assert answer.status_code == 400
        assert "the message was not read: it holds more than" in answer.json()["error"]["message"]


@pytest.mark.requirement("T18")
async def test_a_request_that_does_not_come_to_its_end_is_given_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0.1)
    parts = urlsplit(door.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"{name}: {value}" for name, value in (door.headers() | {"Host": parts.netloc}).items()]
    writer.write("\r\n".join(["POST /mcp HTTP/1.1", *lines, "Content-Length: 10", "", "{"]).encode())
    async with asyncio.timeout(BOUND):
        assert b" 408 " in await reader.readline()
    writer.close()


@pytest.mark.requirement("T18")
async def test_the_token_is_for_its_user_alone_and_is_told_nowhere(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with door_of(site) as door:
        found = door.token_file.stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert len(door.token) == 43
        assert door.token not in json.dumps(await asyncio.to_thread(site.client.hello))
        token = door.token
    assert token not in caplog.text


@pytest.mark.requirement("T18")
async def test_without_the_setting_there_is_no_port_and_no_token(site: Site) -> None:
    site.config = replace(site.config, daemon=replace(site.config.daemon, http=None))
    async with site.daemon():
        assert "mcp" not in await asyncio.to_thread(site.client.hello)
    assert not list(site.config.state_dir.glob("http-token*"))


@pytest.mark.requirement("T18")
@pytest.mark.parametrize("wrong", ["open to others", "holds no token", "a link"])
async def test_a_token_file_that_cannot_be_trusted_is_not_used_until_it_is_mended(
    site: Site, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acp_runtime.api import loopback

    monkeypatch.setattr(loopback, "AGAIN_SECONDS", 0.05)
    site.config.state_dir.mkdir(parents=True)
    file = site.config.state_dir / "http-token"
    if wrong == "a link":
        file.symlink_to("/etc/passwd")
    else:
        file.write_text("A" * 43 if wrong == "open to others" else "short")
        file.chmod(0o644 if wrong == "open to others" else 0o600)
    async with site.daemon():
        assert "mcp" not in await asyncio.to_thread(site.client.hello)
        file.unlink()
        assert Path((await told_of(site))["token_file"]) == file


@pytest.mark.requirement("T18")
async def test_a_port_that_somebody_has_is_waited_for_and_the_daemon_serves_on_its_socket_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acp_runtime.api import loopback

    monkeypatch.setattr(loopback, "AGAIN_SECONDS", 0.05)
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    site.config = replace(site.config, daemon=replace(site.config.daemon, http=port))
    async with site.daemon():
        assert "mcp" not in await asyncio.to_thread(site.client.hello)
        taken.close()
        await taken.wait_closed()
        assert (await told_of(site))["url"] == f"http://127.0.0.1:{port}/mcp"
