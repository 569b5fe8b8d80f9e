"""Ways to break each invariant by hand in a case in which all is well, for the test of the storm's checker."""

from base64 import b64encode
from collections.abc import Callable

from tests.faults.made_cases import BLOCK, ONE, SECRET, MadeCase, queue, say

Spoil = Callable[[MadeCase], object]


def drop(made: MadeCase, kind: str, number: int = 0) -> None:
    made.events.remove(made.find(kind, number))


def again(made: MadeCase, kind: str, number: int = 0) -> None:
    event = made.find(kind, number)
    made.events.insert(made.events.index(event), dict(event))


def forget(made: MadeCase, word: str, **more: object) -> None:
    entries = made.parents["left"]
    entries.remove(next(each for each in entries if each["word"] == word and more.items() <= each.items()))


def put(made: MadeCase, before: str, *kinds: str, number: int = 0) -> None:
    """Have events of these kinds stand before the n-th of another kind."""
    at = made.events.index(made.find(before, number))
    for kind in kinds:
        made.log(kind, attempt=1)
    made.events[at:at] = [made.events.pop() for _ in kinds][::-1]


def second_start(made: MadeCase) -> None:
    stop = made.events.index(made.find("stop_requested"))
    made.log("attempt_started", attempt=2, by="")
    made.events.insert(stop, made.events.pop())


def lost_for_long(made: MadeCase) -> None:
    put(made, "stop_requested", "channel_lost", "loss_confirmed", "channel_recovered")


def an_update_lost_on_the_way(made: MadeCase) -> None:
    interrupted(made)
    made.agents[ONE] = [each for each in made.agents[ONE] if each["word"] != "done" or each["label"] != "b"]
    made.faults.append({"victim": "agent-kill", "subagent": ONE, "lethal": True})
    drop(made, "transcript_added", 3)


def interrupted(made: MadeCase) -> None:
    made.find("task_ended", 1)["data"]["outcome"] = "interrupted"
    for name in ("turn_begun",):
        for each in made.events:
            if each["kind"] == name:
                each["data"]["text"] = each["data"]["text"].replace("t2 completed", "t2 interrupted")
    for entry in made.parents["left"]:
        if entry["word"] == "shown":
            entry["text"] = entry["text"].replace("t2 completed", "t2 interrupted")


def told_twice_in_one_turn(made: MadeCase) -> None:
    line = f"- x ({ONE}) task {ONE}.t1 completed"
    made.parents["left"].insert(0, {
        "word": "shown", "token": "T0", "nudges": ["n-8", "n-9"], "text": BLOCK.format(f"{line}\n{line}"),
    })  # fmt: skip


def told_anew(made: MadeCase, times: int) -> None:
    """Have an agent that was twice at its answer to the first task tell the beginning so often before."""
    made.saw("begun", label="a", n=2)
    for _ in range(times):
        again(made, "transcript_added", 0)


def swapped(made: MadeCase) -> None:
    first, second = made.find("transcript_added", 0), made.find("transcript_added", 1)
    first["data"], second["data"] = second["data"], first["data"]


def asked_when_closed(made: MadeCase) -> None:
    made.turn("T9", f'- x ({ONE}) request 1-q needs permission: "may I"', "n-2")


def lost_end(made: MadeCase) -> None:
    stop = made.find("stop_requested")
    stop["data"].update(by="manager", reason="agent_died")


def ended_beside(made: MadeCase, by: str = "agent") -> None:
    """Have the operator stop the subagent before its last task ends with what its agent, or its parent, had said."""
    stop = made.find("stop_requested")
    stop["data"].update(by="operator", reason="stopped_by_operator" if by == "agent" else "channel_lost")
    made.find("task_ended", 1)["data"]["by"] = by
    made.events.remove(stop)
    made.events.insert(made.events.index(made.find("task_ended", 1)), stop)


def unseen(made: MadeCase) -> None:
    forget(made, "acked", token="T4")
    forget(made, "shown", token="T4")


def not_acknowledged(made: MadeCase) -> None:
    forget(made, "acked", token="T4")
    drop(made, "turn_committed", 1)


def still_open(made: MadeCase) -> None:
    """Let the log end while the agent waits for an answer to a question that nobody was shown."""
    del made.events[made.events.index(made.find("request_opened")) + 1 :]


def told_of_itself(words: str, *nudges: str) -> Spoil:
    def spoil(made: MadeCase) -> None:
        for nudge in nudges:
            made.turn(f"T-{nudge}", f'- x ({ONE}) {words}: "why"', nudge)

    return spoil


def told_of_a_return_twice(made: MadeCase) -> None:
    lost_for_long(made)
    told_of_itself("recovered", "n-8", "n-9")(made)


def told_of_a_return_before_it_was(made: MadeCase) -> None:
    at = made.events.index(made.find("stop_requested"))
    tail, made.events[at:] = made.events[at:], []
    told_of_itself("recovered", "n-8")(made)
    made.events += tail
    lost_for_long(made)


def shown_otherwise(made: MadeCase) -> None:
    told_of_itself("recovered", "n-8")(made)
    made.find("turn_begun", 4)["data"]["text"] = BLOCK.format("")


def slain_twice(made: MadeCase, *victims: str) -> None:
    """Have an agent that waits for work die, and its next one too: that with the second task."""
    interrupted(made)
    put(made, "task_started", "channel_lost", "agent_died", "attempt_started", "session_opened", number=1)
    made.find("attempt_started", 1)["data"].update(attempt=2)
    made.find("session_opened", 1)["data"].update(attempt=2)
    put(made, "task_ended", "channel_lost", "agent_died", number=1)
    made.faults += [{"victim": each, "subagent": ONE, "lethal": True} for each in victims]


def done_and_killed(made: MadeCase) -> None:
    slain_twice(made, "container-kill", "agent-kill")


def sent_and_killed(made: MadeCase, victim: str = "agent-kill") -> None:
    slain_twice(made, "container-kill", victim)
    made.agents[ONE] = [each for each in made.agents[ONE] if each["word"] != "done" or each["label"] != "b"]
    drop(made, "transcript_added", 3)


def made_otherwise(sql: str) -> Spoil:
    return lambda made: setattr(made, "otherwise", sql)


def never_prompted(made: MadeCase) -> None:
    slain_twice(made, "agent-kill", "container-kill")
    drop(made, "prompt_sent", 1)


def given_again_as_never_given(made: MadeCase) -> None:
    sent = made.find("prompt_sent")
    at = made.events.index(sent) + 1
    for kind in ("channel_lost", "channel_recovered"):
        made.log(kind, attempt=1)
    made.log("task_retried", task_id=sent["data"]["task_id"], number=0)
    made.log("task_started", **made.find("task_started")["data"])
    made.log("prompt_sent", **sent["data"])
    made.events[at:at] = [made.events.pop() for _ in range(5)][::-1]
    prompt = next(each for each in made.agents[ONE] if each["word"] == "prompt")
    made.agents[ONE].append({**prompt, "id": 99})


SPOILS: dict[str, tuple[str, Spoil]] = {
    "a hole between events": ("log", lambda made: made.find("task_started").update(seq=900)),
    "a hole in a stream": ("log", lambda made: made.find("task_started").update(version=90)),
    "an old owner writes": ("log", lambda made: made.find("task_started").update(epoch=5)),
    "a task is started before there is a session": ("edges", lambda made: drop(made, "session_opened")),
    "an end that nobody asked for": ("edges", lambda made: drop(made, "stop_requested")),
    "an attempt is left out": ("edges", lambda made: made.find("attempt_started")["data"].update(attempt=2)),
    "an agent dies while it is in reach": ("edges", lambda made: put(made, "stop_requested", "agent_died")),
    "an agent comes back that was never lost": (
        "edges", lambda made: put(made, "stop_requested", "channel_recovered"),
    ),
    "an agent comes back from its death": (
        "edges", lambda made: put(made, "stop_requested", "channel_lost", "agent_died", "channel_recovered"),
    ),
    "a task is started while its agent is lost": (
        "edges", lambda made: put(made, "task_started", "channel_lost", number=1),
    ),
    "a task is started behind its agent's death": (
        "edges", lambda made: put(made, "task_started", "channel_lost", "agent_died", number=1),
    ),
    "a row that the log gives is not there": (
        "projections", made_otherwise("INSERT INTO task VALUES ('bg-0000000001.t2', '')"),
    ),
    "a row is there that the log does not give": ("projections", made_otherwise("DELETE FROM task")),
    "a row says something else than the log": ("projections", made_otherwise("UPDATE task SET result = 'a 1/2'")),
    "a column is none of the log": ("projections", made_otherwise("ALTER TABLE task ADD COLUMN cause TEXT")),
    "a word is found that the log does not give": (
        "projections", made_otherwise("UPDATE search SET text = 'please do'"),
    ),
    "two tasks run at once": ("edges", lambda made: again(made, "task_started", 1)),
    "something happens after the end": ("edges", lambda made: made.log("channel_lost", attempt=1)),
    "a prompt that was delivered is given again as one that was not": ("prompts", given_again_as_never_given),
    "a task without an end": ("ends", lambda made: drop(made, "task_ended", 1)),
    "a task with two ends": ("ends", lambda made: again(made, "task_ended", 1)),
    "a task is started twice": ("ends", lambda made: again(made, "task_started", 0)),
    "a task that was taken is not there": ("acknowledged", lambda made: made.ledger("taken", label="c")),
    "a task is there twice": ("acknowledged", lambda made: queue(made, "t3", "b")),
    "a task that nobody sent": ("acknowledged", lambda made: forget(made, "sending", label="a")),
    "an acknowledgement is forgotten": ("acknowledged", lambda made: drop(made, "turn_committed", 1)),
    "an end is never told": ("lost", unseen),
    "an end is shown and never acknowledged": ("lost", not_acknowledged),
    "an end of the subagent is never told": ("lost", lost_end),
    "an end of the subagent beside the result of its task is never told": ("lost", ended_beside),
    "an end of the subagent beside what its parent cancelled is never told": (
        "lost", lambda made: ended_beside(made, "parent"),
    ),
    "an open question is never told": ("lost", still_open),
    "a lost session is never told": ("lost", lambda made: made.find("session_opened")["data"].update(opening="lost")),
    "a return is never told": ("lost", lost_for_long),
    "a fact is told after its acknowledgement": (
        "again", lambda made: made.turn("T9", f"- x ({ONE}) task {ONE}.t1 completed", "n-other"),
    ),
    "a return is told under two ids": ("again", told_of_a_return_twice),
    "an acknowledged fact waits again": (
        "again", lambda made: made.waiting.append((ONE, "task", f"{ONE}.t1", "n-other")),
    ),
    "an acknowledged nudge waits again": ("again", lambda made: made.waiting.append((ONE, "subagent", "", "n-1"))),
    "a fact stands twice in a turn": ("again", told_twice_in_one_turn),
    "an end that was not": ("made up", lambda made: made.turn("T9", f"- x ({ONE}) task {ONE}.t7 completed", "n-7")),
    "a return that was not": ("made up", told_of_itself("recovered", "n-8")),
    "a return before it was": ("made up", told_of_a_return_before_it_was),
    "a loss that was not": ("made up", told_of_itself("is out of reach", "n-8")),
    "an end of the subagent that was not": ("made up", told_of_itself("stopped", "n-8")),
    "another end of the subagent": ("made up", lambda made: (lost_end(made), told_of_itself("timed out", "n-8")(made))),
    "a text that the log does not have": ("made up", shown_otherwise),
    "another outcome": ("made up", lambda made: made.find("task_ended")["data"].update(outcome="failed")),
    "a nudge without a line": ("made up", lambda made: made.parents["left"][4].update(nudges=["n-1", "n-9"])),
    "a question after its answer": ("made up", asked_when_closed),
    "an update is lost": ("updates", lambda made: drop(made, "transcript_added", 0)),
    "the last update is lost": ("updates", lambda made: drop(made, "transcript_added", 3)),
    "an update is there twice": ("updates", lambda made: again(made, "transcript_added", 0)),
    "updates change places": ("updates", swapped),
    "an answer is told anew more often than its agent began it": ("updates", lambda made: told_anew(made, 2)),
    "an answer that is told anew has a gap": (
        "updates", lambda made: (told_anew(made, 1), drop(made, "transcript_added", 2)),
    ),
    "an update that nobody sent": ("updates", lambda made: say(made, "t2", "b", 3)),
    "a prompt is delivered twice": ("prompts", lambda made: made.saw("prompt", id=3, label="b")),
    "an id is used twice": ("prompts", lambda made: made.saw("prompt", id=2, label="z")),
    "a prompt that the log does not know": ("prompts", lambda made: made.saw("prompt", id=9, label="z")),
    "a question is answered twice": ("questions", lambda made: again(made, "request_closed")),
    "a question is asked twice": ("questions", lambda made: again(made, "request_opened")),
    "the agent hears two answers": ("questions", lambda made: made.saw("heard", id="q", option="no")),
    "the agent hears another answer": (
        "questions", lambda made: made.find("request_closed")["data"].update(answer="no"),
    ),
    "a task that was done is interrupted": ("lived", interrupted),
    "what an agent sent before it died is not stored": ("lived", an_update_lost_on_the_way),
    "a task that was done is interrupted by the end of its agent alone": ("lived", done_and_killed),
    "what an agent sent is not stored, and its container was ended at another time": ("lived", sent_and_killed),
    "what an agent sent before it closed its stdout is not stored": (
        "lived", lambda made: sent_and_killed(made, "agent-stdout"),
    ),
    "what an agent sent while its journal was full is not stored": (
        "lived", lambda made: sent_and_killed(made, "journal-disk"),
    ),
    "a task is interrupted by a death before its prompt": ("unharmed", never_prompted),
    "a task is interrupted, and nobody ended its agent": ("unharmed", interrupted),
    "an agent that nobody ended is started again": ("unharmed", second_start),
    "a container of others is gone": ("touched", lambda made: made.touched.append("container x was removed")),
    "a key is in the log": ("secret", lambda made: made.find("task_ended")["data"].update(cause=f"401: {SECRET}")),
    "a key is in what an agent saw": ("secret", lambda made: made.saw("env", value=SECRET[::-1])),
    "a key is in what a parent was told": (
        "secret", lambda made: made.ledger("said", text=b64encode(f"Bearer {SECRET}".encode()).decode()),
    ),
    "a container is left": ("left", lambda made: made.left.append("container x")),
}  # fmt: skip
