"""What one subagent says and does, as a person follows it on the terminal."""

import json

from acp_runtime.tui.following import Following
from tests.integration.service.conftest import Bench, done

COUNT = {"sessionId": "$SESSION", "update": {"sessionUpdate": "usage_update", "used": 1, "size": 2}}
COUNTED = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": COUNT})


async def test_what_has_no_word_for_people_is_left_out(bench: Bench) -> None:
    view = await done(bench, f"[[raw:{COUNTED}]][[say:It is counted.]]")
    rows = (await bench.runtime.poll(bench.parent, view.id)).rows
    assert [row.text for row in rows if row.kind == "usage_update"] == [""]
    following = Following(view.id, view.seq)
    assert await following.read(bench.runtime)
    assert [kind for kind, _ in following.lines()] == ["session_opened", "task_dispatched", "", "task_complete"]


async def test_who_looks_at_a_long_talk_sees_its_end_at_once(bench: Bench) -> None:
    view = await done(bench, "[[updates:20000]]")
    following = Following(view.id, view.seq)
    assert await following.read(bench.runtime)
    assert following.lines()[-1][0] == "task_complete"
    assert "\n19999\n" in following.lines()[-2][1]
