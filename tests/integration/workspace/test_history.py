"""Histories of every kind: what of them arrives in the sandbox, and what is said when they cannot."""

import os
import shutil


async def test_a_detached_head_arrives_on_a_branch_called_main(host, carry):
    host.repository()
    host.git("checkout", "-q", "--detach", "HEAD~1")
    arrived = await carry()
    assert arrived.git("branch", "--show-current") == "main"
    assert arrived.git("log", "--format=%s") == "first"


async def test_packed_references_and_objects_are_found(host, take):
    head = host.repository()
    host.git("gc", "-q", "--prune=now")
    assert not (host.folder / ".git/refs/heads/main").exists()
    assert (await take()).head == head


async def test_a_linked_work_tree_arrives_with_its_own_branch_and_index(host, carry, contents, tmp_path):
    host.repository()
    linked = tmp_path / "linked"
    host.git("worktree", "add", "-q", "-b", "other", str(linked), "HEAD~1")
    host.put("more.txt", b"more\n", folder=linked)
    arrived = await carry(linked)
    assert arrived.git("branch", "--show-current") == "other"
    assert arrived.git("log", "--format=%s", "HEAD~1") == "first"
    assert contents(arrived.work) == contents(linked)


async def test_a_shallow_clone_arrives_without_history_and_says_so(host, carry, contents, tmp_path):
    host.repository()
    shallow = tmp_path / "shallow"
    host.git("clone", "-q", "--depth=1", f"file://{host.folder}", str(shallow))
    arrived = await carry(shallow)
    assert arrived.snapshot.is_git
    assert arrived.snapshot.head is None
    assert "shallow" in arrived.snapshot.notices[0]
    assert contents(arrived.work) == contents(shallow)


async def test_a_partial_clone_arrives_without_history_and_fetches_nothing(host, carry, contents, tmp_path):
    host.repository()
    host.git("config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    host.git("clone", "-q", "--filter=blob:none", f"file://{host.folder}", str(partial))
    before = sorted(path.name for path in (partial / ".git/objects/pack").iterdir())
    arrived = await carry(partial)
    assert arrived.snapshot.head is None
    assert "could not be packed" in arrived.snapshot.notices[0]
    assert contents(arrived.work) == contents(partial)
    assert sorted(path.name for path in (partial / ".git/objects/pack").iterdir()) == before


async def test_references_that_cannot_be_read_are_said_and_the_files_arrive(host, carry, contents):
    """So a repository looks whose references are in a reftable, which git writes from version 2.45 on."""
    host.repository()
    shutil.rmtree(host.folder / ".git/refs/heads")
    (host.folder / ".git/refs/heads").write_text("this repository uses the reftable format\n")
    (host.folder / ".git/reftable").mkdir()
    (host.folder / ".git/HEAD").write_text("ref: refs/heads/.invalid\n")
    arrived = await carry()
    assert arrived.snapshot.notices == ("The history is left out, because its references are kept in a reftable.",)
    assert contents(arrived.work) == contents(host.folder)


async def test_a_damaged_history_stays_behind_and_the_files_arrive(host, carry, contents):
    host.repository()
    blob = host.git("rev-parse", "HEAD~1:kept.txt").stdout.decode().strip()
    (host.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    arrived = await carry()
    assert arrived.snapshot.head is None
    assert contents(arrived.work) == contents(host.folder)


async def test_a_history_over_its_limit_stays_behind_and_the_files_arrive(host, carry, contents):
    host.repository()
    host.put("noise", os.urandom(200_000))
    host.git("add", ".")
    host.git("commit", "-q", "-m", "noise")
    host.put("noise", b"small")
    arrived = await carry(history_bytes=100_000)
    assert arrived.snapshot.head is None
    assert "larger than 97.7 KiB" in arrived.snapshot.notices[0]
    assert contents(arrived.work) == contents(host.folder)


async def test_a_repository_with_sha256_names_arrives(host, carry, contents):
    head = host.repository("--object-format=sha256")
    host.put("more.txt", b"more\n")
    arrived = await carry()
    assert arrived.snapshot.object_format == "sha256"
    assert arrived.git("rev-parse", "HEAD~1") == head
    arrived.put("kept.txt", b"by agent\n")
    work = await arrived.out()
    host.git("apply", stdin=work.patch)
    assert contents(host.folder) == contents(arrived.work)
