"""A folder that wants to act on the host while it is taken in."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from sandbox.errors import WorkspaceError
from sandbox.workspace.importing import Import
from sandbox.workspace.survey import File, LeftOut, Survey
from tests.integration.workspace.planted import Traps
from tests.integration.workspace.processes import died, processes_with, watch


@pytest.fixture
def traps(tmp_path):
    return Traps(tmp_path / "canaries")


def everything(folder):
    """Each path of a folder with all that could change about it but the time of access."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (
            status.st_mode,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            content,
        )
    return found


@pytest.mark.parametrize("dirty", [True, False])
async def test_taking_a_folder_in_writes_nothing_to_it(host, take, dirty):
    host.repository()
    if dirty:
        host.put("kept.txt", b"changed\n")
        host.put("untracked.txt", b"deep\n")  # a blob that the repository has, as a loose object
    before = everything(host.folder)
    snapshot = await take()
    assert (snapshot.base_commit == snapshot.head) is not dirty
    assert everything(host.folder) == before


async def test_nothing_planted_in_a_repository_runs(host, carry, contents, traps):
    host.repository()
    host.put(".gitmodules", b'[submodule "inner"]\n\tpath = inner\n\turl = ext::touch x\n\tupdate = !touch x\n')
    host.put("untracked.txt", b"lower\n")
    inner = host.folder / "inner"
    inner.mkdir()
    host.git("init", "-q", cwd=inner)
    for work in (host.folder, inner):
        traps.plant(work)
    arrived = await carry()
    assert traps.sprung() == set()
    arrived_files = contents(arrived.work)
    assert arrived_files[b"untracked.txt"] == ("file", False, b"lower\n")
    assert arrived_files == {
        name: what for name, what in contents(host.folder).items() if not name.startswith(b"inner/")
    }

    host.git("status", check=False)
    host.git("add", ".", check=False)
    host.git("diff", "HEAD", check=False)
    assert {"fsmonitor", "clean", "hook-post-index-change"} <= traps.sprung()


async def test_nothing_planted_in_the_environment_runs(host, take, traps, tmp_path):
    host.repository()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    host.git("init", "-q", cwd=elsewhere)
    traps.plant(elsewhere)
    head = host.head()
    host.environ |= {
        "GIT_DIR": str(elsewhere / ".git"),
        "GIT_WORK_TREE": str(elsewhere),
        "GIT_TRACE": str(tmp_path / "trace"),
    }
    assert (await take()).head == head
    assert traps.sprung() == set()
    assert not (tmp_path / "trace").exists()


async def test_the_folder_is_the_work_tree_whatever_its_configuration_says(host, carry, contents, tmp_path):
    host.repository()
    secrets = tmp_path / "secrets"
    host.put("secret.txt", b"secret", folder=secrets)
    host.git("config", "core.worktree", str(secrets))
    arrived = await carry()
    assert set(contents(arrived.work)) == {b"kept.txt", b"folder/deep.txt"}


@pytest.fixture
def secret(host, tmp_path):
    """Another repository of the user, with one commit."""
    folder = tmp_path / "secret"
    folder.mkdir()
    host.git("init", "-q", cwd=folder)
    host.put("secret.txt", b"secret", folder=folder)
    host.git("add", ".", cwd=folder)
    host.git("commit", "-q", "-m", "secret", cwd=folder)
    return folder / ".git"


async def test_a_git_file_that_names_another_repository_brings_no_history(host, carry, secret):
    (host.folder / ".git").write_text(f"gitdir: {secret}\n")
    host.put("a.txt", b"a")
    arrived = await carry()
    assert arrived.snapshot.head is None
    assert "does not name it in return" in arrived.snapshot.notices[0]
    assert arrived.git("log", "--format=%s") == "Take in the folder as it lies"


async def test_a_git_file_that_names_a_work_tree_of_another_repository_brings_no_history(host, take, secret, tmp_path):
    host.git("worktree", "add", "-q", str(tmp_path / "theirs"), cwd=secret.parent)
    (host.folder / ".git").write_text(f"gitdir: {secret}/worktrees/theirs\n")
    assert (await take()).head is None


async def test_a_link_to_another_repository_brings_no_history(host, take, secret):
    (host.folder / ".git").symlink_to(secret)
    snapshot = await take()
    assert snapshot.head is None
    assert "symbolic link" in snapshot.notices[0]


@pytest.mark.parametrize("linked", ["objects", "refs", "refs/heads", "refs/heads/main"])
async def test_a_part_of_a_repository_that_is_linked_to_another_brings_no_history(host, take, secret, linked):
    host.git("init", "-q")
    for name in {"objects", linked}:
        part = host.folder / ".git" / name
        if name == linked:
            if part.is_dir():
                part.rename(host.folder / name.replace("/", "-"))
            part.unlink(missing_ok=True)
            part.symlink_to(secret / name)
        else:
            (part / "info/alternates").write_text(f"{secret}/objects\n")
    if linked == "objects":
        commit = host.git("rev-parse", "HEAD", cwd=secret.parent).stdout.decode()
        (host.folder / ".git/HEAD").write_text(commit)
    assert host.git("log", "--format=%s").stdout == b"secret\n"  # what plain git makes of it
    assert (await take()).head is None


async def test_a_tracked_path_through_a_link_brings_in_nothing_from_outside(host, carry, contents, tmp_path):
    host.git("init", "-q")
    host.put("deep/secret.txt", b"harmless")
    host.git("add", ".")
    (host.folder / "deep/secret.txt").unlink()
    (host.folder / "deep").rmdir()
    host.put("secret.txt", b"secret", folder=tmp_path / "outside")
    (host.folder / "deep").symlink_to(tmp_path / "outside")
    arrived = await carry()
    assert contents(arrived.work) == {b"deep": ("link", str(tmp_path / "outside"))}


@pytest.mark.parametrize("size", [2, 4])
async def test_a_file_that_changes_while_it_is_read_stops_the_snapshot(host, size):
    host.put("three", b"123")
    os.mkfifo(host.folder / "pipe")
    was = [File(name, b"100644", size) for name, size in ((b"gone", 1), (b"pipe", 1), (b"three", size))]
    left_out = LeftOut()
    with pytest.raises(WorkspaceError, match=r"three changed while it was read; let its writers finish"):
        list(Import(host.folder, Survey(tuple(was), left_out), None).chunks())
    assert (left_out.unreadable, left_out.special) == ([b"gone"], [b"pipe"])


async def test_a_folder_of_another_user_can_be_taken(host, take):
    if os.geteuid() != 0:
        pytest.skip("needs root: to give a folder away")
    head = host.repository()
    for path in (host.folder, *host.folder.rglob("*")):
        os.chown(path, 12345, 12345)
    assert b"dubious ownership" in host.git("status", check=False).stderr
    assert (await take()).head == head


async def test_a_folder_that_keeps_git_waiting_ends_with_an_error_and_no_process(host, take, tmp_path):
    os.mkfifo(host.folder / ".gitignore")
    with pytest.raises(WorkspaceError, match=r"had not ended after 2 s .* raise the limit"):
        await take(seconds=2)
    assert processes_with(tmp_path) == []
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_cancelled_snapshot_leaves_no_process_and_no_file(host, take, tmp_path):
    started = tmp_path / "started"
    os.mkfifo(started)
    waiting = (
        f'case "$*" in *ls-files*) sleep 600 & echo > {started}; sleep 600;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    host.put("bin/git", b"#!/bin/sh\n" + waiting.encode(), folder=tmp_path).chmod(0o755)
    host.environ["PATH"] = f"{tmp_path / 'bin'}:{host.environ['PATH']}"
    task = asyncio.create_task(take())
    assert await asyncio.wait_for(asyncio.to_thread(started.read_bytes), 60) == b"\n"
    handles = watch(processes_with(tmp_path))
    assert len(handles) >= 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await died(handles)
    assert list((tmp_path / "scratch").iterdir()) == []
