"""`subagents reap` on a real engine: with a daemon and without one, tried dry first, and what it says."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from docker.errors import NotFound

from acp_runtime.cli.codes import Exit
from acp_runtime.clock import SystemClock
from acp_runtime.store.store import Store
from sandbox.ownership import Owner, start_time
from sandbox.spec import LABEL
from tests import engine
from tests.contract.conftest import label
from tests.docker.closure import closure_image
from tests.e2e.daemon_site import BOUND, DaemonSite, daemon_site, line_of

pytestmark = pytest.mark.docker


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("r", numbered=True)) as site:
        yield site


@pytest.fixture
def leave(site: DaemonSite) -> Iterator[Callable[[str], str]]:
    """Leave a container of the site's store that its log does not know, and return its id."""
    test = label(site.root)

    def make(subagent: str) -> str:
        store = asyncio.run(store_of(site))
        own = {"subagent": subagent, "attempt": "1", "role": "agent"}
        name = f"acp-{store}-{subagent}-1"
        with engine.client() as client, subprocess.Popen(["sleep", "infinity"]) as maker:
            owner = replace(Owner.of_this_process(store, 1), pid=maker.pid, started=start_time(maker.pid) or 0)
            labels = {**test, **owner.labels(), **{LABEL + key: own[key] for key in own}}
            idle = ["sleep", "infinity"]
            made: str = client.api.create_container(closure_image(), idle, name=name, labels=labels)["Id"]
            client.api.start(made)  # what runs is no other store's to remove
            maker.kill()
        return made

    yield make
    with engine.client() as client:
        found = client.api.containers(all=True, filters={"label": [f"{key}={test[key]}" for key in test]})
        for each in found:
            client.api.remove_container(each["Id"], force=True)


async def store_of(site: DaemonSite) -> str:
    """Return the id of the site's store, which is made where there is none."""
    if site.store.exists():
        [(store,)] = site.look("SELECT value FROM meta WHERE key = 'store'")
        return str(store)
    async with Store.open(site.store, SystemClock()) as made:
        return made.id


def told(said: str, action: str) -> int:
    """Return of how many things a table says so: ended containers of other dead managers may be among them."""
    return [line.split()[0] for line in said.splitlines()].count(action)


def there(ident: str) -> bool:
    with engine.client() as client:
        return any(each["Id"] == ident for each in client.api.containers(all=True))


@pytest.mark.requirement("D09.1")
def test_without_a_daemon_it_owns_the_store_for_a_moment(site, leave):
    left = leave("bg-one")
    dry = site.run("reap", "--dry-run")
    assert (dry.returncode, dry.stderr) == (Exit.DONE, f"{told(dry.stdout, 'remove')} would be removed\n")
    head, *lines = dry.stdout.splitlines()
    assert head.split() == ["ACTION", "KIND", "NAME", "WHY"]
    [line] = [each for each in lines if "bg-one" in each]
    assert line.split()[:2] == ["remove", "container"]
    assert "the log does not know its subagent bg-one" in line
    assert there(left)
    done = site.run("reap", "--json")
    assert done.returncode == Exit.DONE
    [said] = [each for each in map(json.loads, done.stdout.splitlines()) if each["id"] == left]
    assert (said["action"], said["kind"]) == ("removed", "container")
    assert not there(left)
    assert not site.socket.exists(), "no daemon is started for it"


@pytest.mark.requirement("D09.1")
def test_the_daemon_does_it_where_one_runs_and_at_its_start(site, leave):
    early = leave("bg-early")
    assert site.run("serve").returncode == Exit.DONE
    with engine.client() as client, suppress(NotFound):
        client.api.wait(early, timeout=BOUND, condition="removed")
    late = leave("bg-late")
    dry = site.run("reap", "--dry-run", "--json")
    assert {each["id"]: each["action"] for each in map(json.loads, dry.stdout.splitlines())}[late] == "remove"
    assert there(late)
    done = site.run("reap", "-q")
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
    assert not there(late)
    assert "the reaper removed the container" in site.log()


def test_an_engine_that_is_not_there_is_told_in_one_sentence(site):
    done = site.run("reap", DOCKER_HOST=f"unix://{site.root}/none.sock")
    assert (done.returncode, done.stdout) == (Exit.ENGINE, "")
    assert done.stderr.count("\n") == 1
    assert "none.sock" in done.stderr


OWNER = """
import asyncio, pathlib, sys
from acp_runtime.clock import SystemClock
from acp_runtime.store.store import Store
async def main():
    async with Store.open(pathlib.Path(sys.argv[1]), SystemClock()):
        print("owned", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


def test_a_store_that_another_process_owns_is_left_to_it(site):
    owner = site.popen(sys.executable, "-c", OWNER, str(site.store), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert line_of(owner) == b"owned\n"
    done = site.run("reap")
    assert done.returncode == Exit.ENGINE
    assert f"owned by the running process {owner.pid}" in done.stderr


def test_what_cannot_be_removed_is_told_and_costs_the_exit_code(site, leave):
    pid = site.serve()
    ended = site.run("spawn", "--agent", "scripted", "--workspace", "repo", "--one-shot", "-q", "[[say:x]]")
    subagent = ended.stdout.strip()
    assert site.run("wait", subagent).returncode == Exit.DONE
    assert site.run("stop", subagent).returncode == Exit.DONE
    site.end(pid)
    leave("bg-any")
    store = asyncio.run(store_of(site))
    labels = {**Owner.of_this_process(store, 1).labels(), f"{LABEL}subagent": subagent, f"{LABEL}role": "agent"}
    name = f"acp-{store}-{subagent}-work"
    with engine.client() as client:
        client.api.create_volume(name, labels=labels)
        host = client.api.create_host_config(binds=[f"{name}:/mnt"])
        user = client.api.create_container(closure_image(), ["true"], host_config=host, labels=label(site.root))["Id"]
    done = site.run("reap")
    assert done.returncode == Exit.FAILED
    assert done.stderr == f"{told(done.stdout, 'removed')} removed, 1 could not be\n"
    [line] = [each for each in done.stdout.splitlines() if each.startswith("failed")]
    assert "volume is in use" in line
    engine.remove_containers([user])
    assert site.run("reap").returncode == Exit.DONE
    assert name not in engine.volumes()


def test_volumes_of_another_store_go_only_when_it_is_named(site):
    me = Owner.of_this_process("feedbeef", 1)
    dead = {**replace(me, started=me.started - 1).labels(), f"{LABEL}subagent": site.root.name, f"{LABEL}role": "agent"}
    name = f"acp-feedbeef-{site.root.name}-home"
    try:
        with engine.client() as client:
            client.api.create_volume(name, labels={**dead, **label(site.root)})
        reaped = site.run("reap")
        assert reaped.returncode == Exit.DONE
        [line] = [each for each in reaped.stdout.splitlines() if name in each]
        assert line.split()[:2] == ["untouched", "volume"]
        done = site.run("reap", "--volumes-of", "feedbeef", "-q")
        assert done.returncode == Exit.DONE
        assert name not in engine.volumes()
    finally:
        engine.remove_volumes([name])
