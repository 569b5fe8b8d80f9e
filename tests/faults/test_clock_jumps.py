"""The wall clock of a real daemon jumps by more than a year, both ways, at every wait state: no deadline moves.

What is pending stays pending, what is kept stays kept, the lease stays the daemon's, and each fact is told once.
"""

import json
from collections.abc import Iterator

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.clock import SystemClock
from tests.e2e.daemon_site import BOUND, daemon_site
from tests.faults.faked_site import FakedSite

PARENT = "parent"
JUMPS = (400, -400, 8)
LIFETIME = 86_400


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakedSite]:
    with daemon_site(tmp_path_factory.mktemp("j", numbered=True), FakedSite) as site:
        yield site


def spawn(site: FakedSite, task: str, **changes: object) -> str:
    request = {"agent": "scripted", "workspace": str(site.workspace), "task": task, **changes}
    return str(site.call("spawn", PARENT, request=request)["id"])


def settled(site: FakedSite, subagent: str) -> dict:
    waited = site.call("wait", PARENT, subagents=[subagent], seconds=BOUND)
    assert waited["reason"] == "ended", (waited, site.log())
    return waited["views"][0]


def told(site: FakedSite, turn: str) -> list[str]:
    """Take a turn, and return which nudges it told."""
    context = site.call("begin_turn", PARENT, door="python", turn_id=turn)
    site.call("commit_turn", None, token=context["token"])
    return context["nudges"]


def renewed(site: FakedSite, subagent: str, before: str) -> str:
    """Return the lease that stands after the one of `before`."""
    for _ in range(int(BOUND)):
        ((lease,),) = site.look("SELECT value FROM meta WHERE key = 'lease'")
        if lease != before:
            return str(lease)
        site.call("wait", PARENT, subagents=[subagent], mode="any_change", seconds=1)
    raise AssertionError(f"the lease {before} was not renewed: {site.log()}")


@pytest.mark.requirement("D04.11", "D05.8", "D06.10")
def test_no_jump_of_the_wall_clock_ends_loses_or_repeats_anything(site: FakedSite) -> None:
    with site.config.open("a", encoding="utf-8") as file:
        file.write(f"idle = 600\nlifetime = {LIFETIME}\n\n[daemon]\nlease = 5\nretention_days = 1\n")
    pid, go = site.serve(), site.root / "go"
    over = spawn(site, "[[say:over]]", keep=True)
    settled(site, over)
    site.call("stop", PARENT, subagent=over, finished=True)
    assert len(told(site, "before")) == 1
    waiting = spawn(site, "[[say:not told yet]]", keep=True)
    settled(site, waiting)
    busy = spawn(site, f"[[wait:{go}]][[say:busy]]")
    asking = spawn(site, "[[ask:allow_once,reject_once]]", permissions="ask")
    for subagent, status in ((busy, "running"), (asking, "waiting")):
        while site.call("status", PARENT, subagent=subagent)["status"] != status:  # the test's timeout bounds it
            site.call("wait", PARENT, subagents=[subagent], mode="any_change", seconds=1)
    before = {each["id"]: each["status"] for each in site.call("list_subagents", PARENT)}
    assert before == {waiting: "idle", busy: "running", asking: "waiting"}
    pending = {each["id"] for each in site.call("nudges", PARENT, state="pending")}
    lease = renewed(site, busy, "")
    for days in JUMPS:
        site.set_clock(days)
        views = {each["id"]: each for each in site.call("list_subagents", PARENT, ended=True)}
        ends = {site.days_off(views[each]["max_lifetime_at"]) for each in before}
        assert ends == {days + 1}, "the daemon does not see the jump, or its deadlines have moved"
        assert {ident: view["status"] for ident, view in views.items()} == {over: "completed", **before}
    boot, moment = renewed(site, busy, lease).split()
    assert (boot, int(moment) - SystemClock().now() <= 5_000) == (SystemClock().boot, True)
    assert (site.pid, site.client.hello()["epoch"]) == (pid, 1)
    go.touch()
    (question,) = site.call("status", PARENT, subagent=asking)["requests"]
    site.call("answer", PARENT, subagent=asking, request=question["id"], option="opt-0")
    assert settled(site, busy)["tasks"][0]["result"] == "busy"
    assert settled(site, asking)["tasks"][0]["state"] == "completed"
    # A new owner looks for what is old, and so does its daily clean: there is nothing.
    site.set_clock(400)
    site.serve("--replace")
    assert site.call("nudges", OPERATOR, state="dead") == []
    assert over in {each["id"] for each in site.call("list_subagents", PARENT, ended=True)}
    found = told(site, "after")
    assert pending - {each["id"] for each in site.call("nudges", PARENT, state="superseded")} <= set(found)
    assert len(set(found)) == len(found)
    kinds = [each["kind"] for each in site.call("nudges", PARENT, ids=found) if each["subagent"] in (busy, waiting)]
    assert kinds.count("completed") == 2
    assert set(found).isdisjoint(told(site, "again")), "told twice"
    deadlines = [json.loads(row[0]) for row in site.look("SELECT data FROM event WHERE kind = 'task_ended'")]
    assert {each["outcome"] for each in deadlines} == {"completed"}
