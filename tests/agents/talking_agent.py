"""An ACP agent for `python3 -c`: carries out its arguments, which are pieces of Python, where their names say.

`new`: before the answer to session/new; `load`: before that to session/load; `turn`: within a prompt's turn; `after`:
behind the answer to a prompt; `cancel`: at a session/cancel.
"""

import json
import sys
from typing import Any

MIB = 1 << 20
PIECES = dict(each.split("=", 1) for each in sys.argv[1:])


def put(**fields: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **fields}) + "\n")
    sys.stdout.flush()


def say(text: str, session: str = "s") -> None:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    put(method="session/update", params={"sessionId": session, "update": update})


def noise(size: int) -> None:
    line = "warning: something\n"
    sys.stdout.write(line * (size // len(line)))
    sys.stdout.flush()


def carry_out(name: str) -> None:
    exec(PIECES.get(name, ""))


for text in sys.stdin:
    message = json.loads(text)
    match message.get("method"):
        case "initialize":
            put(id=message["id"], result={"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
        case "session/new":
            carry_out("new")
            put(id=message["id"], result={"sessionId": "s"})
        case "session/load":
            carry_out("load")
            put(id=message["id"], result={})
        case "session/prompt":
            carry_out("turn")
            say("done")
            put(id=message["id"], result={"stopReason": "end_turn"})
            carry_out("after")
        case "session/cancel":
            carry_out("cancel")
