"""What is left of gateways and in them: told by the reaper, and removed where nobody can want it."""

import contextlib
import re
from functools import partial

from acp_runtime import __version__
from acp_runtime.manager.launcher import Action, Kind, Standing
from acp_runtime.manager.reaping import reap_gateways
from tests.integration.gateway.gateway_site import STORE, GatewaySite

URL = "http://127.0.0.1:9/v1"


async def test_a_gateway_without_a_manager_is_told_and_the_socket_of_a_dead_one_removed(site: GatewaySite):
    link = site.link(ttl=77)
    await link.open(lambda: site.account(URL))
    (with_manager,) = await reap_gateways(site.root / "run", dry_run=False)
    assert (with_manager.kind, with_manager.action) == (Kind.GATEWAY, Action.KEEP)
    assert with_manager.why.startswith(f"process {site.pid} of store {STORE}, version {__version__} since ")
    assert with_manager.why.endswith(", 1 accounts, 0 under way, no record yet")
    await link.close()
    (alone,) = await reap_gateways(site.root / "run", dry_run=False)
    assert alone.action is Action.KEEP
    assert re.search(r"no manager for \d+ s, ends by itself after 77$", alone.why)
    await site.ended(site.kill())
    (dead,) = await reap_gateways(site.root / "run", dry_run=True)
    assert (dead.action, site.place.socket.exists()) == (Action.REMOVE, True)
    (dead,) = await reap_gateways(site.root / "run", dry_run=False)
    assert (dead.action, dead.id, site.place.socket.exists()) == (Action.REMOVED, str(site.place.socket), False)
    assert await reap_gateways(site.root / "run", dry_run=False) == []


async def test_accounts_of_attempts_that_do_not_live_are_closed(site: GatewaySite):
    first = site.link()
    for subagent in ("bg-1", "bg-2", "bg-3", "bg-4"):
        await first.open(partial(site.account, URL, subagent=subagent, attempt=2))
    await first.close()

    async def log(subagents):
        assert subagents == {"bg-1", "bg-2", "bg-3", "bg-4"}
        return {"bg-1": Standing(2), "bg-2": Standing(3), "bg-3": Standing(None)}

    second = site.link(epoch=2)
    told = await second.prune(log, dry_run=True)
    assert [each.action for each in told] == [Action.KEEP, Action.REMOVE, Action.REMOVE, Action.REMOVE]
    assert len((await site.told())["list"]) == 4
    told = await second.prune(log, dry_run=False)
    assert [each.action for each in told] == [Action.KEEP, Action.REMOVED, Action.REMOVED, Action.REMOVED]
    assert [each["subagent"] for each in (await site.told())["list"]] == ["bg-1"]


async def test_where_no_gateway_lives_none_is_started_to_close_something(site: GatewaySite):
    async def log(_):
        raise AssertionError("there is nothing to ask for")

    link = site.link()
    assert await link.prune(log, dry_run=False) == []
    await link.close_account("bg-1", 1)
    await link.close()
    assert not site.place.held
    with contextlib.suppress(FileNotFoundError):
        assert list(site.place.folder.iterdir()) == []


async def test_the_socket_of_a_gateway_that_was_killed_goes_with_its_manager(site: GatewaySite):
    link = site.link()
    await link.open(partial(site.account, URL))
    link.release("bg-1")
    link._keeping.cancel()  # so that it is not started again
    await site.ended(site.kill())
    assert site.place.socket.exists()
    await link.close()
    assert not site.place.socket.exists()
