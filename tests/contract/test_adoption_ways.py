"""An agent is taken up by another manager whatever became of the ways that its own manager had to it."""

import os
from dataclasses import replace

import pytest

from acp_runtime.core.model import TaskState
from acp_runtime.manager.docker_launcher import DockerLauncher
from tests import engine
from tests.contract.conftest import Place, label
from tests.contract.test_adoption import ANSWERED, container, inside, killed

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.requirement("D08.5"),
]

MODEL = "http://127.0.0.1:9/v1"
KEY = "ADOPTION_TEST_KEY"


def successor(place: Place, **config: object) -> None:
    """Have the managers to come configured otherwise."""
    changed = replace(place.config, **config)  # type: ignore[arg-type]
    place.config = changed
    place.make_launcher = lambda: DockerLauncher(changed, os.environ, labels=label(place.root))


async def test_a_result_is_taken_from_the_journal_though_the_way_to_the_model_went_with_the_container(
    place: Place,
) -> None:
    successor(place, sockets="exec")
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one", sockets="exec", model_url=MODEL)
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    engine.kill(container(place))
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause


async def test_an_agent_goes_on_though_the_key_of_its_model_is_not_there_any_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-test")
    task = "[[say:one]][[wait:go]][[say:two]]"
    subagent = await killed(place, task, "one", model_url=MODEL, model_key_env=KEY)
    monkeypatch.delenv(KEY)
    inside(place, "touch go")
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.result, view.attempt) == ("onetwo", 1), view.newest.cause
