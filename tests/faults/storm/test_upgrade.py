"""An upgrade in mid-task: a daemon of this tree takes the place of one of an earlier release, and nothing is lost.

Whoever speaks to a daemon does so with the program of the same tree: a client of another version would be refused.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.detached import wait_for_end
from sandbox.programs_volume import HOLDER
from tests import engine
from tests.e2e.daemon_site import BOUND
from tests.faults.case import lines
from tests.faults.storm.driver import ROOT, Storm
from tests.faults.storm.parent import DOOR, LIMITS
from tests.faults.storm.site import StormSite

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(900)]

# The first commit whose agents outlive their managers, "Go on with agents whose manager has died"; it came through
# `make storm SEED=4 COUNT=60`. It stands in where no tag is before this commit.
FIRST_THAT_HOLDS = "f39980f4305ca8ab2a3d7fe21bbb2f9025c36d9a"
PARTS = ("acp_runtime", "sandbox", "images")
PARENT = "parent"
ASKED_IN_WORDS = re.compile(r"nudge n-[0-9a-f]{16}: result is '[^']*', not '[^']*'")
WAITS = 5
CALL = """
import json, sys
from pathlib import Path
from acp_runtime.api.unix_client import UnixClient
socket, method, caller, arguments = sys.argv[1:]
print(json.dumps(UnixClient(Path(socket)).call(method, caller or None, **json.loads(arguments))))
"""
FOLLOW = """
import sys
from pathlib import Path
from acp_runtime.api.unix_client import UnixClient
socket, parent, subagent, kind = sys.argv[1:]
told = UnixClient(Path(socket)).stream("/v1/events", {"parent": parent, "subagent": subagent})
next(each for each in told if each["kind"] == kind)
"""


class Upgrade(Storm):
    """A storm without faults, whose one parent is this process."""

    def ask(self, method: str, caller: str = PARENT, **arguments: Any) -> Any:
        return json.loads(self.run(CALL, method, caller, json.dumps(arguments)))

    def run(self, code: str, *words: str) -> str:
        """Run a piece of Python with the program that the daemon runs."""
        done = self.site.run(str(self.site.socket), *words, code=code, PYTHONPATH=str(self.site.tree))
        assert done.returncode == 0, f"{done.stderr}\n{self.site.log()[-4000:]}"
        return done.stdout

    def reach(self, subagent: str, kind: str) -> None:
        """Return once something of that kind was told of a subagent."""
        self.run(FOLLOW, PARENT, subagent, kind)

    def settle(self, *subagents: str) -> list[dict[str, Any]]:
        """Return the subagents once all of their tasks are over."""
        for _ in range(WAITS):
            waited = self.ask("wait", subagents=subagents, mode="all", seconds=BOUND / 2)
            if waited["reason"] == "ended":
                return list(waited["views"])
        raise AssertionError(f"they have not settled: {waited}")

    def note(self, word: str, **more: Any) -> None:
        with (self.site.root / f"{PARENT}.jsonl").open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps({"word": word, **more}) + "\n")

    def spawn(self, label: str, *, agent: str = "numbering", **numbers: int) -> str:
        request = {"agent": agent, "workspace": str(self.site.workspace), "task": self.task(label, **numbers)}
        request |= {"keep": True, "permissions": "ask", "limits": LIMITS}
        subagent = str(self.ask("spawn", request=request)["id"])
        self.note("taken", label=label)
        return subagent

    def send(self, subagent: str, label: str, **numbers: int) -> None:
        self.ask("send", subagent=subagent, text=self.task(label, **numbers))
        self.note("taken", label=label)

    def task(self, label: str, *, n: int, ms: int = 0, err: int = 0, ask: int = 0) -> str:
        self.note("sending", label=label)
        return f"[[task:{label} n={n} ms={ms} err={err} ask={ask} die=0]]"

    def begin(self, turn: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.ask("begin_turn", door=DOOR, turn_id=turn)
        self.note("shown", token=shown["token"], text=shown["text"], nudges=shown["nudges"])
        return shown

    def commit(self, shown: dict[str, Any]) -> None:
        self.ask("commit_turn", caller="", token=shown["token"])
        self.note("acked", token=shown["token"])

    def stop_all(self) -> None:
        for view in self.ask("list_subagents", ended=False):
            self.ask("stop", subagent=view["id"], finished=True)

    def held(self, *subagents: str) -> dict[str, tuple[str, str]]:
        """Return the sandbox of each subagent, and the SHA-256 of the holder in it."""
        containers = {each: self.site.container(each) for each in subagents}
        return {each: (found, engine.execute(found, "sha256sum", HOLDER)[:64]) for each, found in containers.items()}


def git(*argv: str) -> bytes:
    return subprocess.run(["git", *argv], cwd=ROOT, check=True, capture_output=True, timeout=BOUND).stdout


def earlier() -> str:
    """Return the newest release before this commit."""
    try:
        return git("describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return FIRST_THAT_HOLDS


def tree_of(commit: str, folder: Path) -> Path:
    """Return the program as it was at a commit, with its programs for sandboxes compiled."""
    try:
        packed = git("archive", commit, *PARTS)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode().strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        pytest.skip(f"no history: {commit} is not in this copy of the repository: {said}")
    folder.mkdir()
    subprocess.run(["tar", "-x"], cwd=folder, input=packed, check=True, timeout=BOUND)
    subprocess.run([sys.executable, "sandbox/programs/build.py"], cwd=folder, check=True, timeout=10 * BOUND)
    return folder


def holders(tree: Path) -> set[str]:
    """Return the SHA-256 of each holder that was compiled in a tree."""
    sums = (tree / "sandbox" / "programs" / "bin" / "SHA256SUMS").read_text(encoding="ascii").split()
    return {found for found, name in zip(sums[::2], sums[1::2], strict=True) if name.startswith("holder-")}


def agents_of(upgrade: Upgrade) -> tuple[str, str, str]:
    """Return an idle subagent, one that asks, with a task in its queue, and one that says a line in 20 ms for 30 s."""
    idle, asking = upgrade.spawn("idle-1", n=20), upgrade.spawn("asking-1", agent="loading", n=60, ask=30)
    upgrade.send(asking, "asking-2", n=30)
    upgrade.settle(idle)
    upgrade.reach(asking, "request_opened")
    busy = upgrade.spawn("busy-1", n=1500, ms=20, err=7)
    upgrade.reach(busy, "agent_message_chunk")
    return idle, asking, busy


@pytest.mark.requirement("D05.7")
def test_an_upgrade_in_mid_task_loses_nothing(site: StormSite, tmp_path: Path) -> None:
    site.tree = old = tree_of(earlier(), tmp_path / "earlier")
    site.trees = False
    site.write_config()
    upgrade = Upgrade(site, 1, 0)
    upgrade.start_manager()
    first = upgrade.manager
    idle, asking, busy = agents_of(upgrade)
    before, shown = upgrade.held(idle, asking, busy), upgrade.begin("open")
    assert {holder for _, holder in before.values()} <= holders(old)

    site.tree = ROOT
    upgrade.start_manager("--replace")
    assert wait_for_end(first, BOUND)
    assert upgrade.held(idle, asking, busy) == before
    assert upgrade.begin("open") == shown, "a turn that was begun is the same turn for the next daemon"
    upgrade.commit(shown)
    ((request,),) = site.look("SELECT id FROM request WHERE subagent = ?", asking)
    upgrade.ask("answer", subagent=asking, request=request, option="yes")
    upgrade.send(idle, "idle-2", n=20)
    upgrade.settle(idle, asking, busy)
    new = upgrade.spawn("new-1", n=20)
    views = upgrade.settle(idle, asking, busy, new)
    assert {(each["attempt"], task["state"]) for each in views for task in each["tasks"]} == {(1, "completed")}
    assert upgrade.held(new)[new][1] in holders(ROOT)

    upgrade.stop_all()
    for turn in ("last", "empty"):
        upgrade.commit(last := upgrade.begin(turn))
        assert len(last["nudges"]) == (5 if turn == "last" else 0), last["text"]
    case = site.root / "case"
    epochs = "SELECT count(DISTINCT epoch) FROM event WHERE kind = 'transcript_added' AND stream = ?"
    assert site.look(epochs, busy) == [(2,)], "nothing was said on one side of the upgrade"
    upgrade.collect(case)
    found = upgrade.judge(case, held=True)["found"]
    # In which words a question stands is as the release says that asked it; made anew, it is as this one would say.
    found["projections"] = [each for each in found["projections"] if not ASKED_IN_WORDS.fullmatch(each)]
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    words = [each["word"] for path in (case / "agents").iterdir() for each in lines(path)]
    assert words.count("start") == len(views), "an agent was started again"
