"""What a manager tells of an agent a part of whose journal was damaged while nobody watched."""

import logging

import pytest

from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.session import doubt
from tests.contract.conftest import PARENT, Place
from tests.contract.test_adoption import ANSWERED, inside, killed, said

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.requirement("D08.5"),
]

DAMAGE = """
import glob
path = max(glob.glob("/journal/1/o-*"))
with open(path, "r+b") as file:
    data = bytearray(file.read())
    for at in range(0, len(data), 20):
        data[at] ^= 1
    file.seek(0)
    file.write(data)
"""


def damage(place: Place) -> None:
    """Change a byte of each record of the newest part of what the agent wrote."""
    inside(place, f"python3 -c '{DAMAGE}'", user="0")


async def test_a_task_of_which_a_part_was_lost_ends_suspect_and_the_loss_is_told_where_it_lies(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:lost]][[wait:on]][[say:two]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED.replace("stopReason", "lost"), user="0")
    damage(place)
    with caplog.at_level(logging.WARNING):
        async with place.runtime() as runtime:
            await place.until(runtime, subagent, lambda _: "are lost" in caplog.text)
            inside(place, "touch on")
            view = await place.ended(runtime, subagent)
            assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.SUSPECT)
            assert "1 part(s) of what the agent wrote were lost" in view.newest.cause
            assert await said(runtime, subagent) == "onetwo"
            rows = (await runtime.transcript(PARENT, subagent)).entries
            kinds = [row.kind for row in rows if row.kind in ("agent_message_chunk", "output_lost")]
            assert kinds == ["agent_message_chunk", "output_lost", "agent_message_chunk"]


async def test_a_task_whose_answer_may_be_lost_ends_soon_as_unknown_and_the_agent_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "DOUBT_SECONDS", 0.2)
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    damage(place)
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert view.newest.state is TaskState.FAILED
        assert "its answer may be lost too, so the outcome is unknown" in view.newest.cause
        await runtime.send(PARENT, subagent, "[[say:three]]")
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result, view.attempt) == (TaskState.COMPLETED, "three", 1)
