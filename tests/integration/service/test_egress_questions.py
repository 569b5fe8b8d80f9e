"""A sandbox is refused a host: its parent is asked once, allows it for the task, and it is refused again afterwards."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR, Caller
from acp_runtime.carrying import CarryingLimits, HttpServer
from acp_runtime.clock import SystemClock
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.status import Status
from acp_runtime.egress.proxy import EgressProxy, Policy
from acp_runtime.egress.resolving import Resolver
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.place import folder_beside
from acp_runtime.gateway.recording import Books
from acp_runtime.manager import policy as standing
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.policy import Standing
from acp_runtime.presets import Network, Preset
from acp_runtime.service import Runtime
from acp_runtime.views import SubagentView
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until

WEB = Preset("web", "reaches little", Confinement(), Network.EGRESS, egress=Egress(("known.example.org",)))
MOST = Preset("most", "the ceiling", Confinement(), Network.EGRESS, egress=Egress(("*.example.org",)))
DENIED, LET_THROUGH = b"egress_denied", b"address_refused"  # by its address: every name leads to this machine
RULE, BEYOND = "api.example.org:443", "api.example.net:443"


@dataclass
class Site:
    """A parent, and the ways out of its subagents' sandboxes, at which a test speaks as their agents."""

    ground: Ground
    runtime: Runtime
    ways: dict[str, EgressProxy] = field(default_factory=dict)

    def make_way(self, request: LaunchRequest) -> Callable[[], None]:
        """Make the way out of a sandbox, with its part of the ledger; return what brings it to what is allowed."""
        folder = folder_beside(self.ground.path)
        folder.mkdir(exist_ok=True)
        books = Books(request.subagent, request.attempt, Ledger(folder), SystemClock())
        resolver = Resolver(lambda _, __: ["127.0.0.1"])
        proxy = EgressProxy(Policy(), books.tell, here="127.0.0.1:8791", carrying=CarryingLimits(), resolver=resolver)
        self.ways[request.subagent] = proxy

        def permit() -> None:
            egress = request.egress()
            assert egress is not None
            proxy.change(Policy(Rules.parse(egress.rules)))

        permit()
        return permit

    async def spawn(self, caller: Caller = PARENT, **changes: object) -> str:
        text = f"[[wait:{self.ground.folder / 'go'}]]"
        view = await self.runtime.spawn(caller, self.ground.request(text, **{"preset": "web", **changes}))
        await self.until(view.id, lambda each: each.status is Status.RUNNING)
        return view.id

    async def until(self, subagent: str, met) -> SubagentView:
        return await until(self.runtime, subagent, met, OPERATOR)

    async def tried(self, subagent: str, rule: str) -> bytes:
        """What a CONNECT is answered."""
        proxy = self.ways[subagent]
        path = Path(self.ground.folder) / f"{subagent}.sock"
        async with HttpServer(path, os.getgid(), proxy, CarryingLimits()):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(f"CONNECT {rule} HTTP/1.1\r\nhost: {rule}\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        return answer

    async def tried_until(self, subagent: str, rule: str, code: bytes) -> None:
        """Try again until the answer is this one: what was decided is carried out a moment later."""
        async with asyncio.timeout(BOUND):
            while code not in await self.tried(subagent, rule):
                pass

    async def asked(self, subagent: str, rule: str) -> str:
        """Have a rule lacked; return the request by which it is asked for."""
        assert DENIED in await self.tried(subagent, rule)
        view = await self.until(subagent, lambda each: any(rule in one.title for one in each.requests))
        return next(each.id for each in view.requests if rule in each.title)

    async def finished(self, subagent: str) -> SubagentView:
        (self.ground.folder / "go").touch()
        return await self.until(subagent, lambda each: each.settled)


@asynccontextmanager
async def opened(ground: Ground) -> AsyncIterator[Site]:
    async with ground.runtime() as runtime:
        site = Site(ground, runtime)
        ground.way_of = site.make_way
        yield site


@pytest.fixture
async def site(ground: Ground) -> AsyncIterator[Site]:
    ground.clock, ground.presets = SystemClock(), (WEB, MOST)
    async with opened(ground) as found:
        yield found


@pytest.mark.requirement("D09.32")
async def test_a_refused_host_is_allowed_for_the_task_and_refused_again_after_it(site: Site) -> None:
    subagent = await site.spawn()
    answer = await site.tried(subagent, RULE)
    assert b"may allow it: go on without it, and try again after a while" in answer
    ident = await site.asked(subagent, RULE)
    view = await site.runtime.status(PARENT, subagent)
    assert (view.status, len(view.requests)) == (Status.RUNNING, 1)
    async with site.runtime.turn(PARENT) as turn:
        assert turn.text.count("needs permission") == 1
        assert RULE in turn.text
    async with site.runtime.turn(PARENT) as turn:
        assert "needs permission" not in turn.text
    view = await site.runtime.answer(PARENT, subagent, ident, "allow")
    assert (view.granted, view.requests) == ((RULE,), ())
    await site.tried_until(subagent, RULE, LET_THROUGH)
    assert DENIED in await site.tried(subagent, "api.example.org:8443")
    view = await site.finished(subagent)
    assert (view.granted, view.requests) == ((), ())
    await site.tried_until(subagent, RULE, DENIED)


@pytest.mark.requirement("D09.32")
async def test_a_parent_allows_nothing_beyond_the_ceiling_and_the_operator_may(site: Site) -> None:
    subagent = await site.spawn()
    ident = await site.asked(subagent, BEYOND)
    with pytest.raises(Rejected, match=f"the ceiling 'most' does not reach {BEYOND}") as refused:
        await site.runtime.answer(PARENT, subagent, ident, "allow")
    assert refused.value.kind == "beyond_ceiling"
    with pytest.raises(Rejected, match="only the operator") as refused:
        await site.runtime.answer(PARENT, subagent, ident, "always")
    assert refused.value.kind == "needs_operator"
    assert DENIED in await site.tried(subagent, BEYOND)
    assert (await site.runtime.answer(OPERATOR, subagent, ident, "allow")).granted == (BEYOND,)
    await site.tried_until(subagent, BEYOND, LET_THROUGH)


@pytest.mark.requirement("D09.32")
async def test_what_the_operator_allows_for_good_holds_for_the_preset_at_once_and_after_a_restart(
    ground: Ground, site: Site
) -> None:
    asking, other = await site.spawn(), await site.spawn()
    await site.runtime.answer(OPERATOR, asking, await site.asked(asking, BEYOND), "always")
    await site.tried_until(other, BEYOND, LET_THROUGH)
    await site.finished(asking)
    assert LET_THROUGH in await site.tried(asking, BEYOND)
    assert standing.Policy.beside(ground.path, ground.config).standing() == (Standing("web", BEYOND),)
    ground.path.with_suffix(".egress").write_text("")
    await site.tried_until(other, BEYOND, DENIED)


@pytest.mark.parametrize(
    "rule", ["build.lan:443", "printer:443", "127.0.0.1:443", "known.example.org:443"],
    ids=["a name of this network", "a name without a dot", "an address", "an allowed name with a private address"],
)  # fmt: skip
async def test_what_no_answer_could_open_is_not_asked(site: Site, rule: str) -> None:
    subagent = await site.spawn()
    assert b"200 Connection" not in await site.tried(subagent, rule)
    await site.asked(subagent, RULE)
    assert len((await site.runtime.status(PARENT, subagent)).requests) == 1


async def test_a_wait_is_woken_by_the_question_and_not_held_up_by_it(site: Site) -> None:
    subagent = await site.spawn()
    waiting = asyncio.create_task(site.runtime.wait(PARENT, [subagent], seconds=BOUND))
    await site.asked(subagent, RULE)
    assert (await waiting).reason == "question"
    waiting = asyncio.create_task(site.runtime.wait(PARENT, [subagent], seconds=BOUND))
    await site.finished(subagent)
    assert (await waiting).reason == "ended"
