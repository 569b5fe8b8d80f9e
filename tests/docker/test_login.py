"""A real agent with the login of a subscription: its token stays on this side, and an expired one is told.

The provider of the tokens and the model are scripted; no vendor was ever asked.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from platform import node

import pytest

from acp_runtime.core.logins import GIVE_UP
from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.core.request import RequestKind
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left, label
from tests.docker.client_programs import agents_volume, copied
from tests.docker.hostile_workspace import plant
from tests.docker.real_place import RealPlace, inspect_all, make_place, stored
from tests.integration.test_logins import REFRESH, log_in
from tests.integration.token_provider import TokenProvider
from tests.security.canary import places_of

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.timeout(600)]


@pytest.fixture
def provider() -> Iterator[TokenProvider]:
    with TokenProvider() as made:
        yield made


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def real(tmp_path: Path, model: ScriptedModel, home: Path, request: pytest.FixtureRequest) -> Iterator[RealPlace]:
    """A place of the kind of agent that the test names, else of claude."""
    place = make_place(tmp_path, model, getattr(request, "param", "claude"))
    environ = {**os.environ, "CLAUDE_CONFIG_DIR": str(home / ".claude"), "CODEX_HOME": str(home / ".codex")}
    environ |= {"GEMINI_CLI_HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    place.make_launcher = lambda: DockerLauncher(place.config, environ, labels=label(tmp_path))
    yield place
    assert_nothing_left(tmp_path, on_the_engine=True)


@pytest.mark.requirement("D09.31")
async def test_claude_works_with_a_login_whose_tokens_it_never_has(
    real: RealPlace, model: ScriptedModel, provider: TokenProvider, home: Path
) -> None:
    path = log_in(home, "claude", expires_in=60)
    source = f"login:claude@{provider.url}"
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[write:made.txt|x]][[text:All done.]]", model_key=source)
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.FULL), view.newest.cause
        inside = "cat /proc/*/environ 2>/dev/null; env; find /home /tmp /run -type f -exec cat {} + 2>/dev/null"
        seen = await runtime.check(PARENT, view.id, inside, seconds=30)
        inspected = await asyncio.to_thread(inspect_all, real.root)
        asked, provider.status = len(provider.asked), 400
        await runtime.send(PARENT, view.id, "[[fail:401]]")
        view = await real.until(runtime, view.id, lambda each: bool(each.requests) and each.current_task is None)
        why = "The login login:claude was not renewed: the vendor answered 400; run `claude` and log in with /login"
        assert [(each.kind, each.title) for each in view.requests] == [(RequestKind.LOGIN, f"{why}, on {node()}")]
        await runtime.answer(PARENT, view.id, view.requests[0].id, GIVE_UP)
        view = await real.until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, why in view.newest.cause) == (TaskState.FAILED, True)
        await runtime.stop(PARENT, view.id, finished=True)
    access = json.loads(path.read_text())["claudeAiOauth"]["accessToken"]
    assert asked == 1
    assert 2 <= len(provider.asked) <= 3, "the model's no had the token renewed, or tried to; so did who waits for it"
    assert model.requests
    for request in model.requests:
        assert request.headers["authorization"] == f"Bearer {access}"
        assert "oauth-2025-04-20" in request.headers["anthropic-beta"]
        assert "x-api-key" not in request.headers
    for where, text in (("the sandbox", seen.output), ("docker inspect", inspected), ("the store", stored(real))):
        for token in (access, REFRESH, provider.refresh):
            assert token not in text, f"a token is in {where}"
    assert "stand-in" in seen.output, "the control: what the agent has instead of a key is found this way"


@pytest.mark.requirement("D09.33")
async def test_an_agent_whose_login_has_expired_does_its_task_once_somebody_has_logged_in(
    real: RealPlace, model: ScriptedModel, provider: TokenProvider, home: Path
) -> None:
    log_in(home, "claude", expires_in=-1)
    provider.status = 400
    async with real.runtime() as runtime:
        request = real.request("[[write:made.txt|x]][[text:All done.]]", model_key=f"login:claude@{provider.url}")
        view = await runtime.spawn(PARENT, request)
        view = await real.until(runtime, view.id, lambda each: bool(each.requests or each.settled))
        assert [each.kind for each in view.requests] == [RequestKind.LOGIN], view.newest.cause
        async with runtime.turn(PARENT) as turn:
            assert turn.text.count("needs an answer") == 1
            assert f"run 'claude' and log in with /login, on {node()}" in turn.text.replace("`", "'")
        log_in(home, "claude", expires_in=3600)
        view = await real.until(runtime, view.id, lambda each: each.settled)
        assert [(each.state, each.result) for each in view.tasks] == [(TaskState.COMPLETED, "All done.")]
        await runtime.stop(PARENT, view.id, finished=True)
    assert model.requests, "none before there was a login"


def install_gemini(home: Path) -> None:
    """Put the pinned Gemini CLI where a user would have it."""
    copied(agents_volume(), "gemini/bundle", home)
    (home / "bin").mkdir()
    (home / "bin" / "gemini").symlink_to("../bundle/gemini.js")


@pytest.mark.requirement("D09.31", "D09.33", "T21")
@pytest.mark.parametrize("real", ["gemini"], indirect=True)
async def test_gemini_works_with_a_login_that_the_program_of_its_user_can_renew(
    real: RealPlace, model: ScriptedModel, provider: TokenProvider, home: Path
) -> None:
    """It asks the API of subscriptions, which counts as calls of the model only where it answers for one. It does so at
    its start: without a login it is not started, and somebody asked."""
    await asyncio.to_thread(install_gemini, home)
    path, provider.status = log_in(home, "gemini", expires_in=-1), 400
    plant(real.workspace, "gemini")
    real.model_url = model.base_url.removesuffix("/v1")
    async with real.runtime() as runtime:
        key = f"login:gemini@{provider.url}"
        view = await runtime.spawn(PARENT, real.request("[[write:made.txt|x]][[text:All done.]]", model_key=key))
        view = await real.until(runtime, view.id, lambda each: bool(each.requests or each.settled))
        assert (view.status, [each.kind for each in view.requests]) == (Status.WAITING, [RequestKind.LOGIN])
        assert f"run `gemini`, and log in with Google where it asks, on {node()}" in view.requests[0].title
        assert not model.requests
        path, provider.status = log_in(home, "gemini", expires_in=60), 200
        view = await real.until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.result, view.newest.tools_completed) == ("All done.", 1), view.newest.cause
        spent = view.newest.spent
        assert (spent.calls, spent.unknown_calls, spent.output_tokens > 0) == (2, 0, True)
        inside = "cat /proc/*/environ 2>/dev/null; env; find /home /tmp /run -type f -exec cat {} + 2>/dev/null"
        seen = await runtime.check(PARENT, view.id, inside, seconds=30)
        first, provider.status = json.loads(path.read_text())["access_token"], 400
        await runtime.send(PARENT, view.id, "[[fail:401]]")
        view = await real.until(runtime, view.id, lambda each: bool(each.requests or each.settled))
        assert [each.kind for each in view.requests] == [RequestKind.LOGIN], view.newest.cause
        assert "run `gemini`, and log in with Google" in view.requests[0].title
        await runtime.answer(PARENT, view.id, view.requests[0].id, GIVE_UP)
        await real.until(runtime, view.id, lambda each: each.settled)
        log_in(home, "gemini", expires_in=3600)
        await runtime.send(PARENT, view.id, "[[text:And that too.]]")
        view = await real.until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "And that too."), view.newest.cause
        await runtime.stop(PARENT, view.id, finished=True)
    client = {body["client_id"].rpartition(".apps.")[2] for body in provider.asked}
    assert (client, all(body["client_secret"] for body in provider.asked)) == ({"googleusercontent.com"}, True)
    asked = [each for each in model.requests if each.path.startswith("/v1internal:streamGenerateContent")]
    assert {each.json()["project"] for each in asked} == {"scripted-project"}, "not that of the repository"
    for request in model.requests:
        assert request.path.startswith("/v1internal:"), request.path
        assert request.headers["authorization"].startswith("Bearer head."), "its own"
        assert b"evil" not in request.body
    places = {"the sandbox": seen.output, "the store": stored(real)}
    for token in (first, REFRESH, provider.refresh, *(body["client_secret"] for body in provider.asked)):
        assert places_of(places, token) == []
    assert "stand-in" in seen.output, "the control"


@pytest.mark.long
@pytest.mark.requirement("D09.31", "T8")
@pytest.mark.parametrize("real", ["codex", "claude"], indirect=True)
async def test_agents_with_one_login_go_on_when_its_token_is_refused_in_a_task_and_it_is_renewed_once(
    real: RealPlace, model: ScriptedModel, provider: TokenProvider, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both calls are refused at the same time: each waits for the other, and the vendor gives one new token."""
    path = log_in(home, real.agent, expires_in=3600)
    async with real.runtime() as runtime:
        task = "[[sleep:1]][[fail:401|1]][[text:Done.]]"
        request = real.request(task, model_key=f"login:{real.agent}@{provider.url}")
        views = [await runtime.spawn(PARENT, request) for _ in range(2)]
        for view in views:
            ended = await real.until(runtime, view.id, lambda each: bool(each.settled or each.requests))
            assert (ended.newest.state, ended.newest.result) == (TaskState.COMPLETED, "Done."), ended.newest.cause
        inside = "cat /proc/*/environ 2>/dev/null; env; find /home /tmp /run -type f -exec cat {} + 2>/dev/null"
        seen = [(await runtime.check(PARENT, view.id, inside, seconds=30)).output for view in views]
        inspected = await asyncio.to_thread(inspect_all, real.root)
        for view in views:
            await runtime.stop(PARENT, view.id, finished=True)
    assert [body["refresh_token"] for body in provider.asked] == [REFRESH]
    written = path.read_text()
    used = {each.headers["authorization"].removeprefix("Bearer ") for each in model.requests}
    (new,) = (each for each in used if each in written)
    assert len(used) == 2, "the old one, and one new one"
    places = {"the sandboxes": "".join(seen), "docker inspect": inspected, "the store": stored(real)}
    places["the log"] = caplog.text
    for token in (*used, REFRESH, provider.refresh):
        assert places_of(places, token) == []
    assert places_of({"the file": written}, new) != [], "the control"
    assert "stand-in" in places["the sandboxes"]
