"""The reference agent answers as its docstring says, and the scripted agent answers a client in the same shapes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.raw_client import RawClient, stop_reason

SDK_AGENT = Path(__file__).parents[2] / "agents" / "sdk_agent.py"


@pytest.fixture
def reference(tmp_path) -> Iterator[RawClient]:
    client = RawClient(tmp_path, SDK_AGENT)
    yield client.open()
    client.close()


def test_it_echoes(reference):
    assert stop_reason(reference.prompt("hello")) == "end_turn"
    assert reference.said() == "hello"


@pytest.mark.parametrize(
    ("outcome", "said", "status"),
    [
        ({"outcome": "selected", "optionId": "opt-allow_once"}, "opt-allow_once", "completed"),
        ({"outcome": "cancelled"}, "cancelled", "failed"),
    ],
)
def test_ask_waits_for_the_answer(reference, outcome, said, status):
    request = reference.begin("ask")
    question = reference.until(lambda message: message.get("method") == "session/request_permission")
    reference.message(id=question["id"], result={"outcome": outcome})
    reference.answer(request)
    assert (reference.said(), reference.tools()) == (said, [("ask", status)])


def test_a_cancel_ends_a_hanging_prompt(reference):
    request = reference.begin("hang")
    reference.cancel()
    assert stop_reason(reference.answer(request)) == "cancelled"


def test_the_scripted_agent_answers_in_the_shapes_of_the_sdk(reference, agent):
    assert set(agent.prompt("x")["result"]) == set(reference.prompt("x")["result"])
    (theirs,), (ours,) = reference.updates(), agent.updates()
    assert ours == theirs
