"""The scripted agent that takes messages while it works: it says them, and answers with the first word of each.

So `injected left at the fork` is told as injected, `failed ...` as failed, and a word that nobody knows as itself.
`silent ...` is never answered.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import scripted_agent


class SteeredAgent(scripted_agent.Agent):
    def do_initialize(self, request: object, params: dict[str, Any]) -> None:
        try:
            super().do_initialize(request, params)
        except scripted_agent.Answer as answer:
            result: Any = answer.fields["result"]
            result["_meta"] = {"steering": {"supported": True}}
            raise

    def do__session_steering(self, _: object, params: dict[str, Any]) -> None:
        text = "".join(block["text"] for block in params["prompt"])
        self.turns[params["sessionId"]].do_say(f"heard: {text}\n")
        if not text.startswith("silent"):
            raise scripted_agent.Answer(result={"outcome": text.split()[0]})


if __name__ == "__main__":
    scripted_agent.Agent = SteeredAgent
    scripted_agent.main()
