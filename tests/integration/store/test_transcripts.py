"""Transcripts that are longer than what is read of a log at once."""

from acp_runtime.clock import ManualClock
from acp_runtime.core.inputs import Heard, PromptAnswered, Send, SessionReady
from acp_runtime.core.transcript import MessageEntry, OtherEntry
from acp_runtime.service.paging import TRANSCRIPT_ROWS, read_transcript
from acp_runtime.store.store import Store
from tests.integration.store.conftest import Line


async def test_of_a_log_that_is_longer_than_the_bound_the_oldest_part_is_left_out(
    store: Store, clock: ManualClock
) -> None:
    line = await Line.begin(store, clock)
    first, second = (MessageEntry("agent", text, text) for text in ("first", "second"))
    talk = tuple(OtherEntry("talk", "{}") for _ in range(TRANSCRIPT_ROWS))
    await line.take(
        SessionReady(1, "s", "agent", "1"), Heard(1, (first, *talk)), PromptAnswered(1, f"{line.id}.t1", "end_turn", 1),
        Send("more"), Heard(1, (second,)), PromptAnswered(1, f"{line.id}.t2", "end_turn", 1),
    )  # fmt: skip
    of_all = await read_transcript(store, line.id, task=None)
    assert (of_all.entries[-2].text, of_all.cut) == ("second", True)
    assert "first" not in {each.text for each in of_all.entries}
    assert (await read_transcript(store, line.id, task=f"{line.id}.t1")).cut
    of_second = await read_transcript(store, line.id, task=f"{line.id}.t2")
    assert ([each.text for each in of_second.entries][1], of_second.cut) == ("second", False)
    assert {each.task for each in of_second.entries} == {f"{line.id}.t2"}
