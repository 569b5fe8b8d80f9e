"""What answers at the daemon's socket is no daemon, or breaks off: both clients say so, and neither fails otherwise."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.exchange import Way
from acp_runtime.api.unix_client import UnixClient

ANSWERS = {
    "nothing": b"",
    "an empty line": b"\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "no status": b"HTTP/1.0\r\n\r\n",
    "a status that is none": b"HTTP/1.0 fine\r\n\r\n",
    "half a head": b"HTTP/1.0 200 OK\r\nContent-",
    "no JSON": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{,}",
    "half a body": b'HTTP/1.0 200 OK\r\nContent-Length: 30\r\n\r\n{"version": ',
}


@asynccontextmanager
async def answering(socket: Path, answer: bytes) -> AsyncIterator[None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, socket):
        yield


def by_threads(socket: Path) -> object:
    return UnixClient(socket, start=False).hello()


def by_loop(socket: Path) -> object:
    return asyncio.run(Way(socket, start=False).ask("GET", "/v1/hello", None, 60)).json()


@pytest.mark.parametrize("client", [by_threads, by_loop])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_none_of_a_daemon_is_told_as_a_lost_call(
    tmp_path: Path, client: Callable[[Path], object], answer: bytes
) -> None:
    socket = tmp_path / "s"
    async with answering(socket, answer):
        with pytest.raises(DaemonError, match="the daemon was lost in the middle of a call") as lost:
            await asyncio.to_thread(client, socket)
    assert lost.value.kind == "daemon_lost"
