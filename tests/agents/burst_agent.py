"""An ACP agent that answers each prompt with as many numbered updates as its argument says, prepared beforehand.

What is measured with it is not its own speed. One file, standard library, for `python3 -c`.
"""

import json
import sys


def line(message: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"  # type: ignore[dict-item]


def update(number: int) -> bytes:
    said = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": f"{number}\n"}}
    return line({"method": "session/update", "params": {"sessionId": "burst", "update": said}})


ANSWERS = {
    "initialize": {"protocolVersion": 1, "agentCapabilities": {}},
    "session/new": {"sessionId": "burst"},
    "session/prompt": {"stopReason": "end_turn"},
}
burst = b"".join(update(number) for number in range(int(sys.argv[1])))
for text in sys.stdin.buffer:
    request = json.loads(text)
    if request.get("method") in ANSWERS:
        if request["method"] == "session/prompt":
            sys.stdout.buffer.write(burst)
        sys.stdout.buffer.write(line({"id": request["id"], "result": ANSWERS[request["method"]]}))
        sys.stdout.buffer.flush()
