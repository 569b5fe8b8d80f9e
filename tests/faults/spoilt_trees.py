"""A case with a tree in which all is well, and ways to break by hand what holds for trees, for the checker's test."""

from collections.abc import Callable
from typing import Any

from tests.faults.made_cases import BLOCK, MadeCase, good_case

TOP, LED = "bg-0000000002", "bg-0000000003"
NAME = f"subagent:{TOP}"
NEWS = BLOCK.format(f'- x ({LED}) task {LED}.t1 completed. It said: "c 1/1"')


def tree_case() -> MadeCase:
    """One that leads another, is woken for what that has done, and has an end behind it."""
    made = good_case()
    made.bounds = {"depth": 2, "children": 1, "members": 2}
    born(made, TOP, "left", role="orchestrator", above=["left"])
    saw(made, TOP, "sending", label="c")
    born(made, LED, NAME, role="leaf", above=[NAME, "left"])
    saw(made, TOP, "called", tool="spawn_background_subagent", done=True, kind="")
    saw(made, TOP, "taken", label="c")
    saw(made, LED, "called", tool="spawn_background_subagent", done=False, kind="depth_limit")
    work(made, LED, "c", text="do it [[task:c n=1 ms=1]]")
    made.log("turn_begun", stream=f"parent:{NAME}", token="W1", text=NEWS, nudges=["n-30"])
    saw(made, TOP, "shown", text=NEWS)
    work(made, TOP, "wake-9", text="(news)", woken=True)
    made.log("turn_committed", stream=f"parent:{NAME}", token="W1")
    made.turn("T8", f"- x ({TOP}) task {TOP}.t1 completed (empty)", "n-31")
    end(made, LED, "manager", "parent_ended")
    made.waiting.append((LED, "subagent", "", "n-32"))
    end(made, TOP, "parent", "finished")
    return made


def born(made: MadeCase, who: str, parent: str, **lineage: Any) -> None:
    order = {"lineage": lineage, "preset": "friendly"}
    made.log("subagent_requested", stream=who, parent=parent, permissions="ask", order=order)
    made.log("attempt_started", stream=who, attempt=1)
    made.log("session_opened", stream=who, attempt=1, opening="new")
    made.agents[who] = []


def work(made: MadeCase, who: str, label: str, *, text: str, woken: bool = False) -> None:
    task = {"task_id": f"{who}.t1"}
    made.log("task_queued", stream=who, number=1, text=text, woken=woken, **task)
    made.log("task_started", stream=who, attempt=1, **task)
    made.log("prompt_sent", stream=who, request=9, offset=0, **task)
    saw(made, who, "prompt", id=9, label=label)
    if not woken:
        saw(made, who, "sent", label=label, n=1)
        made.log("transcript_added", stream=who, entry={"role": "agent", "text": f"{label} 1/1\n"}, **task)
    saw(made, who, "done", label=label)
    made.log("task_ended", stream=who, outcome="completed", **task | {"by": "agent"})


def end(made: MadeCase, who: str, by: str, reason: str) -> None:
    made.log("stop_requested", stream=who, by=by, reason=reason)
    made.log("subagent_stopped", stream=who)


def saw(made: MadeCase, who: str, word: str, **more: Any) -> None:
    made.agents.setdefault(who, []).append({"word": word, "run": "8", **more})


def requested(made: MadeCase, who: str) -> dict[str, Any]:
    found = next(each for each in made.events if each["kind"] == "subagent_requested" and each["stream"] == who)
    return dict(found)["data"]


def ends_first(made: MadeCase) -> None:
    """Have the end of who leads stand before that of the other."""
    made.events[-4:] = [*made.events[-2:], *made.events[-4:-2]]


def never_told(made: MadeCase) -> None:
    made.events = [each for each in made.events if each["data"].get("token") != "W1"]


def called_off(made: MadeCase) -> None:
    """Have the task of the one that is led be called off though its agent was done."""
    ended = next(each for each in made.events if each["kind"] == "task_ended" and each["stream"] == LED)
    ended["data"].update(outcome="cancelled", by="manager")
    for each in (*(event["data"] for event in made.events), *made.agents[TOP]):
        if "text" in each:
            each["text"] = each["text"].replace(f"{LED}.t1 completed", f"{LED}.t1 cancelled")


def called_off_alone(made: MadeCase) -> None:
    called_off(made)
    next(each for each in made.events if each["kind"] == "stop_requested" and each["stream"] == LED)["data"].update(
        reason="max_lifetime_exceeded"
    )


def turned_away(made: MadeCase) -> None:
    saw(made, TOP, "called", tool="x", done=False, kind="token_refused")
    saw(made, TOP, "prompt", id=10, label="z")


TREE_SPOILS: dict[str, tuple[str, Callable[[MadeCase], object]]] = {
    "who leads ends before whom it leads": ("trees", ends_first),
    "nobody ends whom an ended one leads": ("trees", lambda made: made.events.__delitem__(slice(-4, -2))),
    "a tree has too many members": ("trees", lambda made: made.bounds.update(members=1)),
    "one leads too many at once": ("trees", lambda made: made.bounds.update(children=0)),
    "a tree is too deep": ("trees", lambda made: made.bounds.update(depth=1)),
    "a result is told to the root": (
        "trees", lambda made: made.turn("T9", f"- x ({LED}) task {LED}.t1 completed", "n-30"),
    ),
    "what is acknowledged was never shown": ("shown", lambda made: made.agents[TOP].remove(
        {"word": "shown", "run": "8", "text": NEWS})),
    "a leaf spawns": (
        "rights", lambda made: saw(made, LED, "called", tool="spawn_background_subagent", done=True, kind=""),
    ),
    "one sees what is somebody else's": (
        "rights", lambda made: saw(made, TOP, "called", tool="get_background_subagent_status", done=True, kind=""),
    ),
    "a living agent is turned away from its tools": ("rights", turned_away),
    "a leaf leads": ("rights", lambda made: requested(made, TOP)["order"]["lineage"].update(role="leaf")),
    "one has another preset than who leads it": (
        "rights", lambda made: requested(made, LED)["order"].update(preset="privileged"),
    ),
    "one may more than who leads it": ("rights", lambda made: requested(made, LED).update(permissions="allow")),
    "what one that leads gave is not there": ("acknowledged", lambda made: saw(made, TOP, "taken", label="d")),
    "a task that was done is called off, and not with who leads": ("lived", called_off_alone),
    "what one that leads must know is never told": ("lost", never_told),
}  # fmt: skip
