"""Engines that do not answer as they should, each told in a sentence of its own. No container engine is needed."""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.engine import PULL_TRIES, Engine
from sandbox.errors import EngineDenied, EngineTimeout, EngineUnreachable

REPO = Path(__file__).parents[2]
ENGINE = {"ApiVersion": "1.41", "Version": "20.10", "Arch": "amd64"}
# A process that gives root away, as far as it has it, and then asks.
AS_NOBODY = """
import asyncio, os, sys
import sandbox.client, sandbox.engine
from sandbox.errors import EngineDenied
async def main():
    try:
        await sandbox.engine.Engine.connect({"DOCKER_HOST": sys.argv[1]}, timeout=5)
    except EngineDenied as error:
        print(error)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


async def why_not(url: str, bound: float = 5.0) -> EngineUnreachable:
    with pytest.raises(EngineUnreachable) as caught:
        await Engine.connect({"DOCKER_HOST": url}, timeout=bound)
    return caught.value


def test_a_socket_this_user_may_not_open_is_denied(tmp_path):
    path = tmp_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        for parent in (path.parent, *path.parent.parents):
            if parent.stat().st_uid == os.getuid() and len(parent.parts) > 2:
                parent.chmod(parent.stat().st_mode | 0o011)
        command = [sys.executable, "-c", AS_NOBODY, f"unix://{path}"]
        environ = {**os.environ, "PYTHONPATH": str(REPO)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert "this user may not open it" in done.stdout, done.stderr
    assert "usermod -aG docker" in done.stdout
    assert EngineDenied.kind == "engine_denied"


async def test_a_socket_that_is_not_there_means_no_engine(tmp_path):
    told = str(await why_not(f"unix://{tmp_path}/none.sock"))
    assert "There is no engine at" in told
    assert "install or start Docker" in told


async def test_a_socket_nobody_listens_on_means_a_stopped_engine(tmp_path):
    path = tmp_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
        told = str(await why_not(f"unix://{path}"))
    assert "is stopped" in told
    assert "systemctl start docker" in told


async def test_a_port_nobody_listens_on_means_a_stopped_engine():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "is stopped" in str(await why_not(f"tcp://127.0.0.1:{port}"))


async def test_an_address_without_a_route_is_unreachable():
    assert "cannot be reached" in str(await why_not("tcp://[100::1]:2375", 0.5))


async def test_something_that_listens_and_never_answers_is_told_within_the_bound(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "e.sock"))
        listener.listen()
        with pytest.raises(EngineTimeout, match=r"within 0\.5 s|did not answer in time"):
            await Engine.connect({"DOCKER_HOST": f"unix://{tmp_path}/e.sock"}, timeout=0.5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html></>",
    ],
    ids=["not found", "an array", "a page"],
)
async def test_something_that_is_no_engine_is_told_as_such(tmp_path, answer):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"\r\n" in await reader.read(65536):  # the first connection only looks whether somebody is there
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "e.sock"):
        told = await why_not(f"unix://{tmp_path}/e.sock")
    assert "it is no container engine" in str(told)


async def test_something_that_hangs_up_is_told_as_such(tmp_path):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "e.sock"):
        told = await why_not(f"unix://{tmp_path}/e.sock")
    assert "ended the connection" in str(told)


async def test_an_answer_that_breaks_off_is_told_as_a_lost_engine_and_a_pull_is_tried_again(tmp_path):
    asked, served = [], set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if "/images/create" in head:
                    asked.append(head.split()[1])
                    chunk = b'{"status": "Pulling"}\r\n'
                    kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                    writer.write(kind + b"%x\r\n%s\r\n64\r\n{" % (len(chunk), chunk))
                    break
                body = json.dumps(ENGINE).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    lines = []
    async with await asyncio.start_unix_server(serve, tmp_path / "e.sock"):
        engine = await Engine.connect({"DOCKER_HOST": f"unix://{tmp_path}/e.sock"})
        with pytest.raises(EngineUnreachable, match="ended the connection"):
            await engine.pull_image("some:image", lines.append)
        await engine.close()
        await asyncio.wait(served)
    assert lines == ["Pulling"] * len(asked) == ["Pulling"] * PULL_TRIES


async def test_an_answer_that_never_comes_to_its_end_takes_no_thread_beyond_its_bound(tmp_path):
    over, served = asyncio.Event(), set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while b"/wait" not in await reader.readuntil(b"\r\n\r\n"):
                body = json.dumps(ENGINE).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            try:
                while not over.is_set():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            finally:
                over.set()
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "e.sock"):
        engine = await Engine.connect({"DOCKER_HOST": f"unix://{tmp_path}/e.sock"})
        try:
            with pytest.raises(EngineTimeout):
                await engine.wait_container("c", bound=2.0)
            async with asyncio.timeout(30):
                await over.wait()
        finally:
            over.set()
            await engine.close()
            await asyncio.wait(served)


def written_context(folder: Path, name: str, url: str) -> None:
    place = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    endpoint = {"docker": {"Host": url, "SkipTLSVerify": False}}
    (place / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoint}))


async def test_docker_contexts_are_followed_the_named_and_the_current_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    written_context(tmp_path, "one", "unix:///of/one.sock")
    written_context(tmp_path, "two", "unix:///of/two.sock")
    (tmp_path / "config.json").write_text('{"currentContext": "one"}')
    with pytest.raises(EngineUnreachable, match=r"/of/one\.sock"):
        await Engine.connect({})
    with pytest.raises(EngineUnreachable, match=r"/of/two\.sock"):
        await Engine.connect({"DOCKER_CONTEXT": "two"})
    with pytest.raises(EngineUnreachable, match="no docker context named 'three'"):
        await Engine.connect({"DOCKER_CONTEXT": "three"})


async def test_a_damaged_context_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    written_context(tmp_path, "one", "unix:///of/one.sock")
    (tmp_path / "config.json").write_text('{"currentContext": "one"}')
    next(tmp_path.glob("contexts/meta/*/meta.json")).write_text("{")
    with pytest.raises(EngineUnreachable, match="cannot be read"):
        await Engine.connect({})
