"""A provider that answers at once and as fast as it is read: one stream of events, as many as `max_tokens` says.

A program of its own, so that it takes a core of its own; it prints its port. It is as little of HTTP as the figures
need: one request for each connection.
"""

import asyncio
import json

DELTA = {"index": 0, "delta": {"role": "assistant", "content": "word " * 12}, "finish_reason": None}
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [DELTA]}
EVENT = f"data: {json.dumps(CHUNK)}\n\n".encode()
AT_ONCE = 256


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    events = json.loads(await reader.readexactly(length))["max_tokens"]
    size = len(EVENT) * events
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
        + f"content-length: {size}\r\n\r\n".encode()
    )
    while events > 0:
        writer.write(EVENT * min(AT_ONCE, events))
        events -= AT_ONCE
        await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
