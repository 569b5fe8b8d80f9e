"""The scripted agent as a parent: it tells what it was given, takes messages while it works, and tells a session again.

    [[servers]]     say the `mcpServers` of its session as JSON
    [[blocks]]      say the prompt's blocks as JSON, once the directives before it are done

A prompt that is nothing but a block of ours is a wake-up: with --ask it asks permission before it goes on.

What it answers to `_session/steering` stands in the file of --steering, `injected` where there is none; without that
option it does not offer it. With --history FILE each prompt is kept there, and `session/load` tells them all again, in
pieces of seven characters.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import scripted_agent

MORE = argparse.ArgumentParser(add_help=False)
MORE.add_argument("--steering", metavar="FILE")
MORE.add_argument("--ask", action="store_true")
MORE.add_argument("--history", metavar="FILE")


class ParentTurn(scripted_agent.Turn):
    def carry_out(self) -> scripted_agent.Answer:
        if OWN.ask and self.text.startswith("<background-subagents>"):
            self.do_ask("allow_once,reject_once")
        return super().carry_out()

    def do_servers(self, _: str) -> None:
        self.do_say(json.dumps(self.agent.servers[self.session]))

    def do_blocks(self, _: str) -> None:
        self.do_say(json.dumps(self.agent.prompts[self.session]))


class ParentAgent(scripted_agent.Agent):
    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.servers: dict[str, Any] = {}
        self.prompts: dict[str, Any] = {}

    def do_initialize(self, request: object, params: dict[str, Any]) -> None:
        try:
            super().do_initialize(request, params)
        except scripted_agent.Answer as answer:
            result: Any = answer.fields["result"]
            result["agentCapabilities"]["loadSession"] = True
            if OWN.steering:
                result["_meta"] = {"steering": {"supported": True}}
            raise

    def do_session_new(self, request: object, params: dict[str, Any]) -> None:
        try:
            super().do_session_new(request, params)
        except scripted_agent.Answer as answer:
            self.servers[answer.fields["result"]["sessionId"]] = params["mcpServers"]
            raise

    def do_session_load(self, _: object, params: dict[str, Any]) -> None:
        session = params["sessionId"]
        self.sessions[session], self.servers[session] = params["cwd"], params["mcpServers"]
        turn = ParentTurn(self, session, "")
        for line in Path(OWN.history).read_text().splitlines():
            text = "".join(block["text"] for block in json.loads(line))
            for at in range(0, len(text), 7):
                turn.update("user_message_chunk", {"content": {"type": "text", "text": text[at : at + 7]}})
            turn.do_say("[answer]")
        raise scripted_agent.Answer(result={})

    def do_session_list(self, _: object, params: dict[str, Any]) -> None:
        found = [*self.sessions, *Path(params["cwd"], "others").read_text().split()]
        raise scripted_agent.Answer(result={"sessions": [{"sessionId": each, "n": 1.0} for each in found], "x": None})

    def do_session_prompt(self, request: object, params: dict[str, Any]) -> None:
        self.prompts[params["sessionId"]] = params["prompt"]
        if OWN.history:
            with Path(OWN.history).open("a") as history:
                print(json.dumps(params["prompt"]), file=history)
        super().do_session_prompt(request, params)

    def do__session_steering(self, _: object, params: dict[str, Any]) -> None:
        word = Path(OWN.steering).read_text() if Path(OWN.steering).exists() else "injected"
        if (turn := self.turns.get(params["sessionId"])) is None:
            raise scripted_agent.Answer(result={"outcome": "promptRequired"})
        turn.do_say(f"heard: {params['prompt'][0]['text']}\n")
        raise scripted_agent.Answer(result={"outcome": word})


if __name__ == "__main__":
    OWN, sys.argv[1:] = MORE.parse_known_args()
    scripted_agent.Agent, scripted_agent.Turn = ParentAgent, ParentTurn
    scripted_agent.main()
