"""Managers in containers of their own, with the engine's socket: one is killed with its container, two live at once."""

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.engine import Engine
from sandbox.spec import LABEL
from tests import engine as others
from tests.contract.conftest import docker_left
from tests.docker.contained import PLACE, REPO, SAID, contained, forget
from tests.docker.contained_manager import DONE

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

MANAGER = ("-m", "tests.docker.contained_manager")
SITE = ("-m", "tests.docker.contained_site")
CLI = (sys.executable, "-B", "-m", "acp_runtime.cli.main")
SECONDS = 120


@pytest.fixture
def engine_socket(engine: Engine) -> str:
    assert engine.endpoint.unix_path is not None
    return engine.endpoint.unix_path


@pytest.fixture
def marks() -> Iterator[list[str]]:
    """Two marks; what managers of them had in common goes at the end, and that must be the last of them."""
    made = [secrets.token_hex(8) for _ in range(2)]
    yield made
    for mark in made:
        forget(mark)
        assert docker_left(mark) == []


def word_of(manager: Any) -> str:
    """Wait for what it has to say."""
    word = others.execute(manager.id, "sh", "-c", f"until [ -s {SAID} ]; do sleep 0.05; done; cat {SAID}")
    assert word, f"it ended: {manager.logs().decode()}"
    return word


@pytest.mark.requirement("D08.5")
@pytest.mark.requirement("D08.9")
def test_an_agent_of_a_manager_that_was_killed_with_its_container_is_taken_up_in_another_one(
    engine_socket: str, image: str, marks: list[str]
):
    mark = marks[0]
    with contained(engine_socket, image, mark, *MANAGER, image, mark) as killed:
        subagent = word_of(killed)
        killed.kill()
    (agent,) = others.containers(f"{LABEL}test={mark}", running=True)
    others.execute(agent, "touch", "go", user="10001", workdir="/workspace")
    with contained(engine_socket, image, mark, *MANAGER, image, mark, subagent) as successor:
        code = successor.wait(timeout=SECONDS)["StatusCode"]
        came, errors = successor.logs(stderr=False).decode(), successor.logs(stdout=False).decode()
    assert code == 0, errors
    assert json.loads(came) == DONE
    assert others.containers(f"{LABEL}test={mark}") == []


@dataclass
class Daemon:
    """A daemon in a container, as its user sees it."""

    machine: Any

    def run(self, *words: str) -> str:
        return others.execute(self.machine.id, *CLI, *words, workdir=str(REPO)).strip()

    def show(self, subagent: str) -> Any:
        return json.loads(self.run("show", "--json", subagent))

    def asking(self) -> Any:
        """Have an agent whose task waits for an answer."""
        task = "[[say:one]][[ask:allow_once,reject_once]]"
        given = ("--agent", "scripted", "--workspace", f"{PLACE}/repo", "--permissions", "ask")
        subagent = self.run("spawn", "-q", *given, task)
        self.run("wait", "-q", "--timeout", str(SECONDS), subagent)
        view = self.show(subagent)
        assert (view["status"], len(view["requests"])) == ("waiting", 1), view
        return view

    def finish(self, view: Any) -> Any:
        """Answer the question, and remove all of the agent when its task is done."""
        self.run("answer", view["id"], "opt-1")
        self.run("wait", "-q", "--timeout", str(SECONDS), view["id"])
        ended = self.show(view["id"])
        self.run("stop", view["id"])
        self.run("rm", view["id"])
        return ended


@pytest.mark.requirement("D09.3")
def test_two_daemons_in_containers_that_reap_on_one_engine_leave_each_others_agents_alone(
    engine_socket: str, image: str, marks: list[str]
):
    with ExitStack() as running:
        config = {"SUBAGENTS_CONFIG": f"{PLACE}/config.toml"}
        machines = [contained(engine_socket, image, mark, *SITE, image, **config) for mark in marks]
        daemons = [Daemon(running.enter_context(machine)) for machine in machines]
        for each in daemons:
            assert word_of(each.machine) == "ready"
            assert each.run("serve") == "the daemon runs"
        views = [each.asking() for each in daemons]
        stores = [store_of(view["container"]) for view in views]
        for store in stores:
            running.callback(remove_all_of, store)
        for mine, view, other, store in zip(daemons, views, reversed(views), reversed(stores), strict=True):
            judged = {each["id"]: each for each in map(json.loads, mine.run("reap", "--json").splitlines())}
            assert judged[view["container"]]["action"] == "keep"
            theirs = {other["container"], *others.volumes(f"{LABEL}store={store}")}
            assert len(theirs) > 1
            assert {judged[each]["action"] for each in theirs} == {"untouched"}
        for mine, view in zip(daemons, views, strict=True):
            ended = mine.finish(view)
            assert (ended["tasks"][-1]["state"], ended["attempt"]) == ("completed", 1), ended
            assert "opt-1" in ended["tasks"][-1]["result"]
        for store in stores:
            assert [*others.containers(f"{LABEL}store={store}"), *others.volumes(f"{LABEL}store={store}")] == []


def store_of(container: str) -> str:
    (made,) = json.loads(others.inspect([container]))
    return str(made["Config"]["Labels"][f"{LABEL}store"])


def remove_all_of(store: str) -> None:
    """Remove what a test that failed has left of a store."""
    others.remove_containers(others.containers(f"{LABEL}store={store}"))
    others.remove_volumes(others.volumes(f"{LABEL}store={store}"))
