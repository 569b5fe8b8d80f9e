"""A small conductor of ACP proxy chains: a client on its stdio, one proxy, one agent; each hop has ids of its own.

    conductor.py [--old|--between] PROXY... -- AGENT...

With --old it speaks as the crates up to 2.0 do: `_proxy/initialize` and `_proxy/successor`; with --between only the
second has the old name. A method that it does not know in a role is refused with -32601.
"""

import itertools
import json
import subprocess
import sys
import threading
from typing import IO, Any

LOCK = threading.Lock()
IDS = itertools.count(1_000)
Message = dict[str, Any]


class Peer:
    """One of the three. `asked` maps the ids that it knows us by to who asked, and under which id."""

    def __init__(self, given: IO[bytes], said: IO[bytes]) -> None:
        self.given = given
        self.said = said
        self.asked: dict[int, tuple[Peer, Any]] = {}

    def tell(self, message: Message) -> None:
        self.given.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.given.flush()

    def forward(self, message: Message, origin: "Peer") -> None:
        """Hand a request or notification on under an id of this hop."""
        if message["method"] == "$/cancel_request":
            wanted = (origin, message["params"]["requestId"])
            for ident, asker in self.asked.items():
                if asker == wanted:
                    self.tell({"method": message["method"], "params": {"requestId": ident}})
        elif "id" in message:
            ident = next(IDS)
            self.asked[ident] = (origin, message["id"])
            self.tell({**message, "id": ident})
        else:
            self.tell(message)


NAMES = {"--old": ("_proxy/initialize", "_proxy/successor"), "--between": ("proxy/initialize", "_proxy/successor")}


class Conductor:
    def __init__(self, words: list[str]) -> None:
        self.initialize, self.successor = NAMES.get(words[0], ("proxy/initialize", "proxy/successor"))
        words = words[1:] if words[0] in NAMES else words
        cut, pipe = words.index("--"), subprocess.PIPE
        self.started = [subprocess.Popen(argv, stdin=pipe, stdout=pipe) for argv in (words[:cut], words[cut + 1 :])]
        self.proxy, self.agent = (Peer(each.stdin, each.stdout) for each in self.started)  # type: ignore[arg-type]
        self.client = Peer(sys.stdout.buffer, sys.stdin.buffer)

    def run(self) -> None:
        for peer in (self.proxy, self.agent):
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()
        self.serve(self.client)
        for peer, process in zip((self.proxy, self.agent), self.started, strict=True):
            peer.given.close()
            process.wait(30)

    def serve(self, peer: Peer) -> None:
        for line in peer.said:
            with LOCK:
                self.route(peer, json.loads(line))

    def route(self, peer: Peer, message: Message) -> None:
        if "method" not in message:
            origin, ident = peer.asked.pop(message["id"])
            origin.tell({**message, "id": ident})
        elif peer is self.client:
            first = message["method"] == "initialize"
            self.proxy.forward(message | {"method": self.initialize} if first else message, peer)
        elif peer is self.agent:
            wrapped = {"method": message["method"], "params": message.get("params")}
            self.proxy.forward({**message, "method": self.successor, "params": wrapped}, peer)
        else:
            self.from_proxy(message)

    def from_proxy(self, message: Message) -> None:
        if message["method"] == self.successor:
            self.agent.forward({**message, **message["params"]}, self.proxy)
        elif "proxy/" in message["method"]:
            self.proxy.tell({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        elif message["method"] == "$/cancel_request":
            for each in (self.client, self.agent):
                each.forward(message, self.proxy)
        else:
            self.client.forward(message, self.proxy)


if __name__ == "__main__":
    Conductor(sys.argv[1:]).run()
