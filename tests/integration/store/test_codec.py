"""Every event goes into its row and comes back as it was; what is not known is refused by name."""

from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acp_runtime.core.errors import StoreError
from acp_runtime.core.events import SUBAGENT_EVENTS, Event, RequestOpened, TaskEnded, TranscriptAdded
from acp_runtime.core.metering import METER_EVENTS
from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.request import Option
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.core.turns import PARENT_EVENTS
from acp_runtime.store.codec import decode, encode, kind_of

ALL = (*SUBAGENT_EVENTS, *PARENT_EVENTS, *METER_EVENTS)
NUMBERS = ("queue", "restarts", "retries")
seconds = st.floats(min_value=0.001, max_value=1e9, allow_nan=False)
st.register_type_strategy(
    Limits,
    st.builds(
        Limits,
        **{
            each.name: (seconds | st.none()) if each.default is None or each.name == "task" else seconds
            for each in fields(Limits)
            if each.name not in NUMBERS
        },
        **dict.fromkeys(NUMBERS, st.integers(0, 1000)),
    ),
)
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize("event_type", ALL, ids=kind_of)
def test_every_event_comes_back_as_it_was(event_type: type[Event]) -> None:
    @given(st.from_type(event_type))
    @settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
    def comes_back(event: Event) -> None:
        kind, data, kept = encode(event)
        assert decode(kind, data) == kept == event
        assert kind == kind_of(event_type)

    comes_back()


def test_kinds_are_distinct_and_these_for_ever() -> None:
    assert sorted(kind_of(each) for each in ALL) == [
        "agent_died", "answer_taken", "attempt_started", "boot_began", "budget_changed", "budget_reached",
        "call_refused", "cancel_requested",
        "channel_lost", "channel_recovered", "egress_changed", "loss_confirmed", "model_called", "nudges_died",
        "nudges_revived", "parent_aliased", "prompt_sent", "recovery_refused", "request_closed", "request_opened",
        "result_reported",
        "session_opened", "steer_ended", "steer_requested", "step_reached", "stop_requested", "subagent_failed",
        "subagent_forgotten", "subagent_read", "subagent_requested", "subagent_stopped", "subtree_ended", "task_ended",
        "task_queued", "task_retried", "task_started", "transcript_added", "tree_time_over", "turn_begun",
        "turn_committed",
    ]  # fmt: skip


def test_every_event_class_there_is_can_be_stored() -> None:
    # By name: a dataclass with slots is made twice.
    assert {each.__name__ for each in Event.__subclasses__()} == {each.__name__ for each in ALL}


@pytest.mark.parametrize("kind", ["made_up", "", "Event", "TaskEnded", "task_ended "])
def test_an_unknown_kind_is_refused_by_name(kind: str) -> None:
    with pytest.raises(StoreError, match=f"of kind {kind!r} that this version does not know"):
        decode(kind, "{}")


@pytest.mark.parametrize("data", ["", "{", "[]", "{}", '{"at": "x", "token": "t", "parent": "p"}'])
def test_a_row_that_cannot_be_read_is_told_with_its_kind(data: str) -> None:
    with pytest.raises(StoreError, match="a turn_committed event that cannot be read"):
        decode("turn_committed", data)


def test_a_field_that_is_new_reads_as_its_default_in_an_old_row() -> None:
    old = '{"at":1,"task_id":"t","outcome":"failed","cause":"c","by":"agent"}'
    assert decode("task_ended", old) == TaskEnded(at=1, task_id="t", outcome=TaskState.FAILED, cause="c", by="agent")


def test_lone_surrogates_become_question_marks_wherever_they_stand() -> None:
    asked = RequestOpened(
        at=1, request_id="\ud800", task_id="t", title="a\udfffb", options=(Option("o\ud800", "", "k"),), deadline=2
    )
    kind, data, kept = encode(asked)
    assert decode(kind, data) == kept
    assert kept == RequestOpened(
        at=1, request_id="?", task_id="t", title="a?b", options=(Option("o?", "", "k"),), deadline=2
    )


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_any_text_can_be_stored(text: str) -> None:
    event = TranscriptAdded(at=1, task_id=None, entry=MessageEntry("agent", text))
    kind, data, kept = encode(event)
    data.encode()
    assert decode(kind, data) == kept
    assert encode(kept) == (kind, data, kept)
