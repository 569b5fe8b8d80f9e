"""A real agent with the login of a subscription: its token stays on this side, and an expired one is told.

The provider of the tokens and the model are scripted; no vendor was ever asked.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left, label
from tests.docker.real_place import RealPlace, inspect_all, make_place, stored
from tests.docker.test_claude import then
from tests.integration.test_logins import REFRESH, log_in
from tests.integration.token_provider import TokenProvider

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.timeout(600)]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(port=0) as model:
        yield model


@pytest.fixture
def provider() -> Iterator[TokenProvider]:
    with TokenProvider() as made:
        yield made


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def real(tmp_path: Path, model: ScriptedModel, home: Path) -> Iterator[RealPlace]:
    place = make_place(tmp_path, model, "claude")
    environ = {**os.environ, "CLAUDE_CONFIG_DIR": str(home / ".claude")}
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
        view = await then(runtime, view, "[[fail:401]]")
        assert view.newest.state is TaskState.FAILED
        assert "The login login:claude was not renewed: the vendor answered 400; run `claude`" in view.newest.cause
        await runtime.stop(PARENT, view.id, finished=True)
    access = json.loads(path.read_text())["claudeAiOauth"]["accessToken"]
    assert (asked, len(provider.asked)) == (1, 2), "the model's no had the token renewed, or tried to"
    assert model.requests
    for request in model.requests:
        assert request.headers["authorization"] == f"Bearer {access}"
        assert "oauth-2025-04-20" in request.headers["anthropic-beta"]
        assert "x-api-key" not in request.headers
    for where, text in (("the sandbox", seen.output), ("docker inspect", inspected), ("the store", stored(real))):
        for token in (access, REFRESH, provider.refresh):
            assert token not in text, f"a token is in {where}"
    assert "stand-in" in seen.output, "the control: what the agent has instead of a key is found this way"


@pytest.mark.requirement("D09.31")
async def test_a_subagent_whose_login_has_expired_is_not_started_and_says_how_to_log_in(
    real: RealPlace, provider: TokenProvider, home: Path
) -> None:
    log_in(home, "claude", expires_in=-1)
    provider.status = 400
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[text:x]]", model_key=f"login:claude@{provider.url}")
        assert (view.status, view.error_kind) == (Status.ERROR, "login_expired"), view
        assert "run `claude` and log in with /login" in view.newest.cause
