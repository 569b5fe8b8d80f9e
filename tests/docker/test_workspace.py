"""A folder into a real container and the work out of it, by two sandboxes that share the work volume."""

import hashlib
import os

import pytest

from sandbox.errors import WorkspaceError
from sandbox.workspace import Guest, WorkspaceLimits, bring_in, take_out, take_snapshot
from tests.integration.workspace.conftest import Host, contents

pytestmark = pytest.mark.docker


@pytest.fixture
def host(tmp_path):
    for name in ("home", "folder", "scratch"):
        (tmp_path / name).mkdir()
    return Host(tmp_path / "home", tmp_path / "folder")


@pytest.fixture
def take(host, tmp_path):
    async def taken(folder=None):
        return await take_snapshot(folder or host.folder, tmp_path / "scratch", environ=host.environ)

    return taken


@pytest.fixture
async def guest(make_sandbox):
    """The workspace sandbox; the agent's one joins it in the tests that need it."""
    sandbox = await make_sandbox(role="workspace", base=True, home=False)
    return Guest(sandbox, WorkspaceLimits())


async def as_agent(make_sandbox, script):
    """Run a script in the agent's own sandbox, where it may do what it wants to its clone."""
    agent = await make_sandbox(home=False)
    done = await agent.run(["sh", "-euc", script], cwd="/workspace", limit_bytes=1_000_000, timeout=60)
    assert done.exit_code == 0, done.stderr
    return done.stdout


async def test_a_dirty_repository_goes_in_and_the_agents_work_comes_back(host, take, guest, make_sandbox):
    head = host.repository()
    host.put("kept.txt", b"one\nuncommitted\n")
    host.put(os.fsdecode(b"odd \xff\nname"), b"\r\n\0binary")
    snapshot = await take()
    await bring_in(guest, snapshot)
    said = await as_agent(
        make_sandbox,
        """
        test ! -e /base
        test -z "$(git status --short)"
        git rev-parse HEAD~1
        id -u
        stat -c %u . kept.txt .git/config
        printf 'one\\nagent\\n' > kept.txt
        git mv folder/deep.txt moved.txt
        git commit -q -a -m 'by agent'
        head -c 100000 /dev/urandom > random
        chmod +x random
        rm -rf .git
        """,
    )
    assert said.split() == [head.encode(), *[b"10001"] * 4]
    work = await take_out(guest)
    assert work.files == 3
    before = contents(host.folder)
    host.git("apply", stdin=work.patch)
    after = contents(host.folder)
    assert after.pop(b"random")[:2] == ("file", True)
    assert after.pop(b"moved.txt") == before.pop(b"folder/deep.txt")
    assert after == {**before, b"kept.txt": ("file", False, b"one\nagent\n")}


async def test_a_hostile_clone_executes_nothing_where_the_work_is_taken_out(host, take, guest, make_sandbox):
    host.repository()
    await bring_in(guest, await take())
    await as_agent(
        make_sandbox,
        """
        printf '#!/bin/sh\\necho ran >> /workspace/canary\\ncat\\n' > .git/trap
        chmod +x .git/trap
        git config core.fsmonitor /workspace/.git/trap
        git config filter.trap.clean /workspace/.git/trap
        rm .git/info/attributes
        git status > /dev/null
        test -e canary
        rm canary
        printf '* filter=trap\\n' > .gitattributes
        mkfifo folder/.gitignore
        git init -q nested
        echo inside > nested/file
        ln -s /base/repo.git/config secret
        echo new > new.txt
        """,
    )
    work = await take_out(guest)
    host.git("-c", "core.attributesFile=/dev/null", "apply", stdin=work.patch)
    assert set(contents(host.folder)) == {
        b"kept.txt", b"folder/deep.txt", b".gitattributes", b"nested/file", b"new.txt", b"secret",
    }  # fmt: skip
    assert contents(host.folder)[b"secret"] == ("link", "/base/repo.git/config")


async def test_what_the_agent_cannot_be_asked_to_open_is_named(host, take, guest, make_sandbox):
    host.repository()
    await bring_in(guest, await take())
    await as_agent(make_sandbox, "echo x > closed; chmod 0 closed kept.txt folder; echo new > new.txt")
    work = await take_out(guest)
    assert work.files == 1
    assert work.notices == ("Not in the patch, because they cannot be read: closed, folder/, kept.txt.",)


async def test_a_later_sandbox_takes_the_work_out_of_the_volumes_alone(host, take, guest, make_sandbox):
    host.repository()
    await bring_in(guest, await take(host.folder / "folder"))
    await as_agent(make_sandbox, "echo agent > deep.txt")
    assert await guest.runner.remove()
    later = Guest(await make_sandbox(role="workspace", base=True, home=False), WorkspaceLimits())
    work = await take_out(later)
    assert b"+++ b/folder/deep.txt" in work.patch


async def test_a_large_folder_arrives_whole(host, take, guest, make_sandbox):
    for number in range(6):
        host.put(f"blob-{number}", os.urandom(4_000_000))
    for number in range(3000):
        host.put(f"many/{number % 50}/{number}", b"%d\n" % number)
    await bring_in(guest, await take())
    sums = await as_agent(make_sandbox, "sha256sum blob-*; find many -type f | wc -l")
    blobs = sorted(host.folder.glob("blob-*"))
    here = "".join(f"{hashlib.sha256(blob.read_bytes()).hexdigest()}  {blob.name}\n" for blob in blobs)
    assert sums.decode() == here + "3000\n"
    assert (await take_out(guest)).patch == b""


async def test_a_patch_over_its_limit_is_refused_and_the_work_stays(host, take, guest, make_sandbox):
    host.repository()
    await bring_in(guest, await take())
    await as_agent(make_sandbox, "head -c 3000000 /dev/urandom > big")
    small = Guest(guest.runner, WorkspaceLimits(patch_bytes=1_000_000))
    with pytest.raises(WorkspaceError, match=r"larger than 976\.6 KiB; the largest files in it are big \(2\.9 MiB\)"):
        await take_out(small)
    assert (await take_out(guest)).files == 1
