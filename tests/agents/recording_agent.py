"""The scripted agent that hides failures behind `end_turn`, as Codex does: only a client that asked is told of them.

It offers titles, refuses the one that it is given, and tells it with each record: `[[failing:SEVERITY]]`.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import scripted_agent

TITLES: dict[str, str] = {}


class FailingTurn(scripted_agent.Turn):
    def do_failing(self, severity: str) -> None:
        answer = scripted_agent.stopped("end_turn")
        asked: Any = self.agent.initialized["clientCapabilities"]
        wanted = asked.get("_meta", {}).get("jetbrains", {}).get("air", {}).get("capabilities", [])
        if "sessionFailure" in wanted:
            record = {"severity": severity, "category": "service", "title": f"{TITLES[self.session]}:\n\x1b[1m503"}
            result: Any = answer.fields["result"]
            result["_meta"] = {"jetbrains": {"air": {"version": 1, "sessionFailure": record}}}
        raise answer


class RecordingAgent(scripted_agent.Agent):
    def do_initialize(self, request: object, params: dict[str, Any]) -> None:
        try:
            super().do_initialize(request, params)
        except scripted_agent.Answer as answer:
            result: Any = answer.fields["result"]
            result["agentCapabilities"]["sessionCapabilities"] = {"title": {}}
            raise

    def do_session_set_title(self, _: object, params: dict[str, Any]) -> None:
        TITLES[params["sessionId"]] = params["title"]
        raise scripted_agent.refused(-32603, "no title today")


if __name__ == "__main__":
    scripted_agent.Agent = RecordingAgent
    scripted_agent.Turn = FailingTurn
    scripted_agent.main()
