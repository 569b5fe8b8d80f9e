"""A storm over real coding agents, with a scripted model behind them.

Real agents keep no journal of ours. What they were asked is read off what they asked their model: the newest request of
each conversation holds all that its agent knows, so a prompt that was delivered twice stands in it twice. Which answers
they finished is read off what they write down themselves in their homes. Where their manager dies, so does the answer
of their model on its way: they ask again and say all of it again, which their model knows too.
"""

import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.agents.scripted_model import ScriptedModel
from tests.docker.real_place import CANARY, KEY_NAME
from tests.faults.case import TASK
from tests.faults.storm.driver import Storm
from tests.faults.storm.own_records import RECORDS, finished
from tests.faults.storm.site import StormSite

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.long, pytest.mark.timeout(1800)]

SEED, COUNT = 300, 30
TASKS = """
SELECT task.subagent, subagent.agent, task.state, task.text FROM task JOIN subagent ON subagent.id = task.subagent
ORDER BY task.id
"""
BOOKED = "SELECT sum(calls - refused - failed) FROM spent"  # those that the model heard of
AGENTS = frozenset({"agent-kill", "agent-freeze", "agent-stdout", "manager-and-agent"})
# They look for the agent of the other storms, or take the way to the model from a living agent.
UNSEEN = AGENTS | {"model-key", "runtime-and-manager", "runtime-wipe"}


@dataclass
class RealStorm(Storm):
    model: ScriptedModel | None = None
    kinds: Sequence[str] = ("opencode", "codex")
    witnessed: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    booked: int = 0

    def terms(self) -> dict[str, Any]:
        assert self.model is not None
        request = {"model": "scripted", "model_url": self.model.base_url, "model_key": f"env:{KEY_NAME}"}
        return {"kinds": self.kinds, "request": request, "limits": {}, "scripted": True}

    def write_journals(self, folder: Path) -> None:
        assert self.model is not None
        asked: dict[str, int] = defaultdict(int)
        sizes: dict[str, int] = {}
        begun: Counter[str] = Counter()
        for request in self.model.requests:
            counts = Counter(found["label"] for found in TASK.finditer(str(request.body)))
            for label, count in counts.items():
                asked[label] = max(asked[label], count)
            newest = [found["label"] for found in TASK.finditer(str(request.body))][-1:]
            begun.update(newest if newest and request.json().get("tools") else [])  # without it is an errand
            sizes |= {found["label"]: int(found["n"]) for found in TASK.finditer(str(request.body))}
        ((self.booked,),) = self.site.look(BOOKED)
        finished = self.finished()
        for subagent, kind, state, text in self.site.look(TASKS):
            self.completed[kind] += state == "completed"
            found = TASK.search(text)
            assert found is not None
            label, last = found["label"], f"{found['label']} {found['n']}/{found['n']}"
            entries: list[dict[str, Any]] = [
                {"word": "prompt", "run": f"{number}", "id": label, "label": label} for number in range(asked[label])
            ]
            entries += [{"word": "sent", "label": label, "n": sizes[label]}] if label in sizes else []
            entries += [{"word": "begun", "label": label, "n": begun[label]}]
            if any(last in answer for answer in finished.get(subagent, ())):
                entries.append({"word": "done", "run": subagent, "label": label})
                self.witnessed[kind] += 1
            with (folder / f"{subagent}.jsonl").open("a") as journal:
                journal.writelines(json.dumps(each) + "\n" for each in entries)

    def finished(self) -> dict[str, list[str]]:
        """Return the answers that the agents of each subagent have written down as finished."""
        homes = self.site.from_homes(*RECORDS)
        return {who: [text for each in tars for text in finished(io.BytesIO(each))] for who, tars in homes.items()}


def test_nothing_of_real_agents_is_lost_in_a_storm(site: StormSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, CANARY)
    site.image, site.passed, site.secret = "", (*site.passed, KEY_NAME), CANARY
    site.write_config()
    with ScriptedModel(port=0) as model:
        storm = RealStorm(site, SEED, COUNT, agents=2, without=UNSEEN, model=model)
        verdict = storm.play(site.root / "case", held=True)
    print(json.dumps(verdict["figures"]), f"missed {verdict['missed']}, {verdict['seconds']} s", storm.witnessed)
    assert {name: wrong for name, wrong in verdict["found"].items() if wrong} == {}
    assert 0 < storm.booked <= len(model.requests), "a call was booked twice, or none was"
    assert storm.witnessed >= storm.completed > Counter(), f"written down: {storm.witnessed}, told: {storm.completed}"
