"""Subagents whose login has expired: asked for once each, noticed without an answer, and gone on with after a restart.

What the gateway refused is written into its ledger by the test; the provider of tokens is scripted.
"""

import asyncio
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.clock import SystemClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import LoginExpired, PromptBroke, SessionReady
from acp_runtime.core.logins import GIVE_UP
from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.request import RequestKind
from acp_runtime.core.status import Status
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.place import folder_beside
from acp_runtime.manager import logins
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.manager.model_way import route_of
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.tools.answers import alive
from acp_runtime.views import SubagentView
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.manager.test_take_up import left_behind
from tests.integration.test_logins import document, log_in
from tests.integration.token_provider import TokenProvider

OTHER = "other parent"
WHY = "The login login:claude was not renewed: the vendor answered 400; run `claude` and log in with /login"


@pytest.fixture
def provider() -> Iterator[TokenProvider]:
    with TokenProvider() as made:
        made.status = 400
        yield made


@pytest.fixture
def login(ground: Ground, provider: TokenProvider) -> Path:
    """The file of a login that has expired, and is renewed no more."""
    ground.clock = SystemClock()
    return log_in(ground.folder, "claude", expires_in=-60)


def refuse(ground: Ground, *subagents: str, code: str = "login_expired", times: int = 3) -> None:
    """Have a gateway write down that calls were refused."""
    folder = folder_beside(ground.path)
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder)
    for subagent in subagents * times:
        ledger.append({"subagent": subagent, "attempt": 1, "way": "model", "code": code, "why": WHY})
    ledger.close()


# Gives up on its task when `go` is there and the login is the old one, and does it otherwise.
AGENT = """
import json, pathlib, sys, time
go, login = map(pathlib.Path, sys.argv[1:])
def put(**fields): print(json.dumps({"jsonrpc": "2.0", **fields}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize": put(id=message["id"], result={"protocolVersion": 1})
        case "session/new": put(id=message["id"], result={"sessionId": "s"})
        case "session/prompt":
            until = time.monotonic() + 30
            while not go.exists() and time.monotonic() < until: time.sleep(0.02)
            if "new-login" in login.read_text():
                put(method="session/update", params={"sessionId": "s", "update": {
                    "sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "done"}}})
                put(id=message["id"], result={"stopReason": "end_turn"})
            else:
                put(id=message["id"], error={"code": -32603, "message": "API Error: 400"})
"""


def with_agent(ground: Ground, login: Path) -> None:
    argv = (sys.executable, "-c", AGENT, str(ground.folder / "go"), str(login))
    ground.kinds["giver-up"] = AgentKind("giver-up", argv)


async def spawned(
    runtime: Runtime,
    ground: Ground,
    login: Path,
    provider: TokenProvider,
    parent: str = PARENT,
    *,
    key: str | None = None,
) -> SubagentView:
    """Return a subagent whose agent is at work."""
    with_agent(ground, login)
    request = ground.request("work", agent="giver-up", model_key=key or f"login:claude@{provider.url}")
    view = await runtime.spawn(parent, request)
    return await until(runtime, view.id, lambda each: each.current_task is not None, parent)


def log_in_again(login: Path) -> None:
    made = document("claude", 3600)
    login.write_text(json.dumps({**made, "claudeAiOauth": {**made["claudeAiOauth"], "accessToken": "new-login"}}))


@pytest.mark.requirement("D09.33")
async def test_each_parent_is_asked_once_and_all_go_on_when_somebody_has_logged_in(
    ground: Ground, login: Path, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "LOOK_SECONDS", 0.01)
    async with ground.runtime() as runtime:
        parents = (PARENT, OTHER)
        views = [await spawned(runtime, ground, login, provider, parent) for parent in parents]
        refuse(ground, *(view.id for view in views))
        (ground.folder / "go").touch()
        for view, parent in zip(views, parents, strict=True):
            asking = await until(
                runtime, view.id, lambda each: bool(each.requests) and each.current_task is None, parent
            )
            (request,) = asking.requests
            assert (asking.status, request.kind) == (Status.WAITING, RequestKind.LOGIN)
            assert request.title == f"{WHY}, on {platform.node()}"
            async with runtime.turn(parent) as turn:
                assert (turn.text.count("needs an answer"), view.id in turn.text) == (1, True)
        # Whoever logs in before the first look at the login has nobody asked for it.
        assert await asyncio.to_thread(provider.heard.wait, BOUND)
        log_in_again(login)
        for view, parent in zip(views, parents, strict=True):
            done = await until(runtime, view.id, lambda each: each.settled, parent)
            assert [(task.state, task.result) for task in done.tasks] == [(TaskState.COMPLETED, "done")]
            assert done.requests == ()
            events = (await runtime.poll(parent, view.id, limit=500)).rows
            assert [each.kind for each in events].count("request_opened") == 1
    assert len(provider.asked) == 1, "it is tried once for both, and when its file has changed"


@pytest.mark.requirement("D09.33")
async def test_an_agent_that_needs_its_login_to_start_is_started_when_somebody_has_logged_in(
    ground: Ground, login: Path, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "LOOK_SECONDS", 0.01)
    with_agent(ground, login)
    (ground.folder / "go").touch()
    ground.launch_fails = LaunchError("login_expired", WHY)
    key = f"login:claude@{provider.url}"
    async with ground.runtime() as runtime:
        order = ground.request("work", agent="giver-up", model_key=key, model_url="http://127.0.0.1:9")
        view = await until(runtime, (await runtime.spawn(PARENT, order)).id, lambda each: bool(each.requests))
        assert (view.status, [each.title for each in view.requests]) == (Status.WAITING, [WHY])
        assert not alive(view), "there is no agent yet"
        (asked,) = ground.asked
        assert await route_of(asked, ground.environ) is not None, "other kinds are started, and ask later"
        early = replace(asked, kind=replace(asked.kind, login_env={"A": "1"}))
        with pytest.raises(Rejected, match=f"log in with /login, on {platform.node()}") as caught:
            await route_of(early, ground.environ)
        assert caught.value.kind == "login_expired"
        ground.launch_fails = None
        log_in_again(login)
        done = await until(runtime, view.id, lambda each: each.settled)
        assert [(task.state, task.result, alive(done)) for task in done.tasks] == [(TaskState.COMPLETED, "done", True)]
    assert len(ground.asked) == 2


@pytest.mark.requirement("D09.33")
@pytest.mark.parametrize("code", ["login_expired", "key_missing"])
async def test_a_task_that_is_given_up_without_its_login_says_so(
    ground: Ground, login: Path, provider: TokenProvider, code: str
) -> None:
    async with ground.runtime() as runtime:
        view = await spawned(runtime, ground, login, provider)
        refuse(ground, view.id, code=code)
        (ground.folder / "go").touch()
        view = await until(runtime, view.id, lambda each: bool(each.requests) and each.current_task is None)
        await runtime.answer(PARENT, view.id, view.requests[0].id, GIVE_UP)
        view = await until(runtime, view.id, lambda each: each.settled)
        assert view.newest.state is TaskState.FAILED
        assert view.newest.cause == f"it was given up without its key or login: {WHY}, on {platform.node()}"


@pytest.mark.requirement("D09.33")
async def test_what_a_killed_manager_asked_is_asked_by_the_next_one_once_and_goes_on(
    ground: Ground, login: Path, provider: TokenProvider
) -> None:
    """Its agent is gone here, and so is what it knew of its session: that is asked beside it."""
    with_agent(ground, login)
    (ground.folder / "go").touch()
    subagent = await left_behind(
        ground,
        SessionReady(1, "s", "agent", "1"),
        LoginExpired(1, WHY),
        PromptBroke(1, "bg-0000000000.t1", "API Error: 400"),
        limits=Limits(restarts=1, backoff=0.01),
        agent="giver-up",
        model_key=f"login:claude@{provider.url}",
    )
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: len(each.requests) == 2)
        assert [each.id for each in view.requests] == ["l1", "q2"]
        assert (view.queued, view.attempt) == (1, 2)
        log_in_again(login)
        await until(runtime, subagent, lambda each: [one.id for one in each.requests] == ["q2"])
        await runtime.answer(PARENT, subagent, "q2", "continue")
        view = await until(runtime, subagent, lambda each: each.settled)
        assert [(task.state, task.result) for task in view.tasks] == [(TaskState.COMPLETED, "done")]


async def test_a_call_that_is_refused_since_a_vendor_is_out_of_reach_asks_for_no_login(
    ground: Ground, login: Path, provider: TokenProvider
) -> None:
    async with ground.runtime() as runtime:
        view = await spawned(runtime, ground, login, provider)
        refuse(ground, view.id, code="key_unreadable")
        (ground.folder / "go").touch()
        view = await until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, view.requests) == (TaskState.FAILED, ())


@pytest.mark.requirement("D09.39")
async def test_a_key_that_is_not_set_any_more_is_asked_for_with_the_remedy(
    ground: Ground, login: Path, provider: TokenProvider
) -> None:
    async with ground.runtime() as runtime:
        view = await spawned(runtime, ground, login, provider, key="env:GONE_KEY")
        refuse(ground, view.id, code="key_missing")
        (ground.folder / "go").touch()
        view = await until(runtime, view.id, lambda each: bool(each.requests) and each.current_task is None)
        assert [(each.kind, each.title) for each in view.requests] == [
            (RequestKind.LOGIN, f"{WHY}{logins.ANEW}, on {platform.node()}")
        ]
        async with runtime.turn(PARENT) as turn:
            assert turn.text.count("needs an answer") == 1


def there(path: Path) -> bool:
    return path.exists()


def mend(login: Path, key: Path) -> None:
    login.write_text("new-login")  # with which its agent does its task
    key.touch(0o600)
    key.write_text("sk-mended")


@pytest.mark.requirement("D09.39")
@pytest.mark.parametrize("kind", ["file", "command"])
async def test_a_task_goes_on_by_itself_when_its_key_is_there_again(
    ground: Ground, login: Path, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(logins, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(logins, "AGAIN_SECONDS", 0.05)
    key, tried = ground.folder / "key", ground.folder / "tried"
    source = f"file:{key}" if kind == "file" else f"command:sh -c 'touch {tried}; cat {key} || true'"
    async with ground.runtime() as runtime:
        view = await spawned(runtime, ground, login, provider, key=source)
        refuse(ground, view.id, code="key_missing")
        (ground.folder / "go").touch()
        await until(runtime, view.id, lambda each: bool(each.requests) and each.current_task is None)
        async with asyncio.timeout(BOUND):
            while kind == "command" and not there(tried):  # noqa: ASYNC110 - the file tells nobody
                await asyncio.sleep(0.01)
        mend(login, key)
        view = await until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, view.requests) == (TaskState.COMPLETED, ())
        rows = (await runtime.poll(PARENT, view.id, limit=500)).rows
        assert [each.kind for each in rows].count("request_opened") == 1


@pytest.mark.requirement("D09.39")
@pytest.mark.parametrize("there", [False, True])
async def test_a_manager_that_has_the_key_again_goes_on_and_one_that_has_not_asks_for_nothing_more(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(logins, "LOOK_SECONDS", 0.01)
    ground.clock, login = SystemClock(), ground.folder / "login"
    login.write_text("new-login")
    with_agent(ground, login)
    (ground.folder / "go").touch()
    ground.variables = {"GONE_KEY": "sk-mended"} if there else {}
    subagent = await left_behind(
        ground,
        SessionReady(1, "s", "agent", "1"),
        LoginExpired(1, WHY),
        PromptBroke(1, "bg-0000000000.t1", "API Error: 400"),
        limits=Limits(restarts=1, backoff=0.01),
        agent="giver-up",
        model_key="env:GONE_KEY",
    )
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: "q2" in [one.id for one in each.requests])
        await runtime.answer(PARENT, subagent, "q2", "continue")
        if not there:
            view = await until(runtime, subagent, lambda each: len(each.requests) == 1)
            await runtime.answer(PARENT, subagent, view.requests[0].id, GIVE_UP)
        view = await until(runtime, subagent, lambda each: each.settled)
        assert view.newest.state is (TaskState.COMPLETED if there else TaskState.FAILED), view.newest.cause
        kinds = [each.kind for each in (await runtime.poll(PARENT, subagent, limit=500)).rows]
        assert kinds.count("request_opened") == 2, "for the key, and since its session is gone"
