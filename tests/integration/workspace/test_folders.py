"""Every kind of folder a user may name, and what of it arrives in the sandbox."""

import contextlib
import os
import shutil
import socket

import pytest

from sandbox.errors import WorkspaceError


async def test_a_clean_repository_arrives_with_its_history_and_its_own_commit(host, carry, contents):
    head = host.repository()
    arrived = await carry()
    assert arrived.snapshot.base_commit == arrived.snapshot.head == head
    assert arrived.snapshot.is_git
    assert arrived.snapshot.notices == ()
    assert arrived.git("log", "--format=%s").split() == ["second", "first"]
    assert arrived.git("rev-parse", "HEAD") == head
    assert contents(arrived.work) == contents(host.folder)


async def test_it_is_told_how_much_a_folder_holds_before_any_of_it_is_read(host, take):
    host.put("a.txt", b"a" * 2048)
    host.put("b/c.txt", b"")
    (host.folder / "a.txt").chmod(0)
    told = []
    with contextlib.suppress(WorkspaceError):  # root may read it all the same
        await take(tell=told.append)
    assert told == ["files in the workspace: 2 (2.0 KiB)"]


async def test_uncommitted_changes_arrive_as_one_commit_on_top(host, carry, contents):
    head = host.repository()
    host.put("kept.txt", b"changed\n")
    host.put("new/untracked.txt", b"new\n")
    host.put("staged.txt", b"staged\n")
    host.git("add", "staged.txt")
    (host.folder / "folder/deep.txt").unlink()
    arrived = await carry()
    assert arrived.snapshot.head == head
    assert arrived.git("rev-parse", "HEAD~1") == head
    assert arrived.git("status", "--short") == ""
    assert contents(arrived.work) == contents(host.folder)
    assert b"folder/deep.txt" not in contents(arrived.work)


async def test_the_clone_of_the_agent_has_a_branch_an_author_and_no_way_out(host, carry):
    host.repository()
    host.git("checkout", "-q", "-b", "feature/x")
    arrived = await carry()
    assert arrived.git("branch", "--show-current") == "feature/x"
    assert arrived.git("remote") == ""
    assert arrived.git("config", "user.name") == "agent"
    assert not (arrived.work / ".git/objects/info/alternates").exists()
    arrived.put("by-agent.txt", b"1\n")
    arrived.git("add", ".")
    arrived.git("commit", "-q", "-m", "third")
    assert arrived.git("fsck", "--strict") == ""


async def test_a_plain_folder_arrives_as_one_commit_without_parents(host, carry, contents):
    host.put("a.txt", b"a\n")
    host.put("ignored.log", b"x")
    host.put(".gitignore", b"*.log\n")
    arrived = await carry()
    assert not arrived.snapshot.is_git
    assert arrived.snapshot.head is None
    assert arrived.snapshot.notices == ()
    assert arrived.git("rev-list", "--count", "HEAD") == "1"
    assert set(contents(arrived.work)) == {b"a.txt", b".gitignore"}


async def test_a_repository_without_commits_arrives_with_its_files(host, carry, contents):
    host.git("init", "-q", "-b", "trunk")
    host.put("a.txt", b"a\n")
    arrived = await carry()
    assert arrived.snapshot.is_git
    assert arrived.snapshot.notices == ()
    assert arrived.git("branch", "--show-current") == "trunk"
    assert contents(arrived.work) == contents(host.folder)


@pytest.mark.parametrize("is_git", [False, True])
async def test_an_empty_folder_arrives_empty_and_the_first_file_comes_back(host, carry, contents, is_git):
    if is_git:
        host.git("init", "-q")
    arrived = await carry()
    assert contents(arrived.work) == {}
    assert (await arrived.out()).patch == b""
    arrived.put("first.txt", b"1\n")
    assert (await arrived.out()).files == 1


async def test_a_folder_inside_a_repository_is_taken_alone_but_under_its_rules(host, carry, contents):
    host.repository()
    host.put(".gitignore", b"*.log\n/folder/private\n")
    host.put("folder/debug.log", b"x")
    host.put("folder/private/key", b"secret")
    arrived = await carry(host.folder / "folder")
    assert arrived.snapshot.prefix == "folder/"
    assert arrived.snapshot.head is None
    assert contents(arrived.work) == {b"deep.txt": ("file", False, b"deep\n")}
    assert "only the folder is taken" in arrived.snapshot.notices[0]


async def test_a_folder_that_its_repository_ignores_is_taken_whole(host, carry, contents):
    """Home folders under version control ignore everything; a project in one is no less a project."""
    host.git("init", "-q")
    host.put(".gitignore", b"*\n")
    host.put("project/main.py", b"1\n")
    host.put("project/.gitignore", b"*.log\n")
    host.put("project/trace.log", b"1\n")
    arrived = await carry(host.folder / "project")
    assert set(contents(arrived.work)) == {b"main.py", b".gitignore"}


async def test_tracked_files_arrive_though_a_rule_ignores_them(host, carry, contents):
    host.repository()
    host.put(".gitignore", b"build/\n*.log\n")
    host.put("build/committed", b"1")
    host.put("build/staged", b"2")
    host.put("build/neither", b"3")
    host.put("staged.log", b"4")
    host.git("add", "-f", "build/committed")
    host.git("commit", "-q", "-m", "build")
    host.git("add", "-f", "build/staged", "staged.log")
    arrived = await carry()
    assert {b"build/committed", b"build/staged", b"staged.log"} < set(contents(arrived.work))
    assert b"build/neither" not in contents(arrived.work)


async def test_without_a_usable_index_the_last_commit_says_what_is_tracked(host, carry, contents):
    host.repository()
    host.put(".gitignore", b"build/\n")
    host.put("build/committed", b"1")
    host.git("add", "-f", ".")
    host.git("commit", "-q", "-m", "build")
    host.put("build/neither", b"3")
    (host.folder / ".git/index").write_bytes(b"no index at all")
    arrived = await carry()
    assert b"build/committed" in contents(arrived.work)
    assert b"build/neither" not in contents(arrived.work)


async def test_the_users_and_the_repositorys_private_rules_hold_on_both_sides(host, carry, contents):
    host.repository()
    host.put(".config/git/ignore", b"*.secret\n", folder=host.home)
    (host.folder / ".git/info/exclude").write_bytes(b"*.mine\n")
    for name in ("a.secret", "b.mine", "c.txt"):
        host.put(name, b"x")
    arrived = await carry()
    assert {b"a.secret", b"b.mine"}.isdisjoint(contents(arrived.work))
    for name in ("new.secret", "new.mine", "new.txt"):
        arrived.put(name, b"y\n")
    work = await arrived.out()
    assert work.files == 1
    assert work.notices == ("Not in the patch, because an ignore rule names them: new.mine, new.secret.",)
    assert "new" not in arrived.git("status", "--short", "--", "*.secret")


async def test_the_users_ignore_file_may_have_another_name(host, take):
    host.put("my-rules", b"*.secret\n", folder=host.home)
    (host.home / ".gitconfig").write_text("[core]\n\texcludesFile = ~/my-rules\n")
    host.put("a.secret", b"x")
    host.put("b.txt", b"x")
    assert (await take()).files == 1


async def test_submodules_and_nested_repositories_stay_behind_and_are_named(host, carry, contents, tmp_path):
    host.repository()
    other = tmp_path / "other"
    shutil.copytree(host.folder, other)
    host.git("submodule", "--quiet", "add", str(other), "module")
    host.git("commit", "-q", "-m", "module")
    shutil.copytree(other, host.folder / "nested/inner")
    host.put("nested/beside.txt", b"x")
    arrived = await carry()
    assert arrived.snapshot.notices == (
        "Left out, because they are repositories of their own: module/, nested/inner/.",
    )
    names = set(contents(arrived.work))
    assert names == {b"kept.txt", b"folder/deep.txt", b".gitmodules", b"nested/beside.txt"}
    assert (await arrived.out()).patch == b""
    arrived.put("module/file.txt", b"by agent\n")
    work = await arrived.out()
    assert b"Subproject" not in work.patch
    host.git("apply", stdin=work.patch)
    assert (host.folder / "module/file.txt").read_bytes() == b"by agent\n"


async def test_a_submodule_that_is_not_checked_out_is_named_too(host, carry, contents):
    head = host.repository()
    host.git("update-index", "--add", "--cacheinfo", f"160000,{head},module")
    host.git("commit", "-q", "-m", "module")
    host.put("module/stray.txt", b"x")
    arrived = await carry()
    assert arrived.snapshot.notices == ("Left out, because they are repositories of their own: module/.",)
    assert b"module/stray.txt" not in contents(arrived.work)


async def test_a_submodule_can_itself_be_the_workspace(host, take, tmp_path):
    head = host.repository()
    outer = tmp_path / "outer"
    outer.mkdir()
    host.git("init", "-q", cwd=outer)
    host.git("submodule", "--quiet", "add", str(host.folder), "module", cwd=outer)
    assert (outer / "module/.git").is_file()
    assert (await take(outer / "module")).head == head


async def test_links_odd_names_modes_and_line_ends_arrive_byte_for_byte(host, carry, contents):
    host.git("init", "-q")
    names = [
        b"new\nline",
        b"tab\t",
        b'quote"',
        b"back\\slash",
        b"\xff\xfe",
        "grün".encode(),
        b" lead",
        b"-rf",
        b"git~2",
    ]
    for name in names:
        host.put(os.fsdecode(name), b"x")
        host.put(os.fsdecode(name + b".d/" + name), b"y")
    host.put(
        ".gitattributes", b"* text=auto\n*.bat eol=crlf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n*.f filter=x\n"
    )
    host.put("dos.bat", b"one\r\ntwo\r\n")
    host.put("auto.txt", b"one\r\ntwo\n")
    host.put("a.id", b"$Id: 1234 $\n")
    host.put("a.u16", b"no utf-16 at all")
    host.put("a.f", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    host.put("no-end", b"no newline at the end")
    host.put("run.sh", b"#!/bin/sh\n").chmod(0o755)
    (host.folder / "to-file").symlink_to("run.sh")
    (host.folder / "to-folder").symlink_to("/etc")
    (host.folder / "to-nothing").symlink_to("../../no/such")
    arrived = await carry()
    assert contents(arrived.work) == contents(host.folder)
    assert arrived.git("status", "--short") == ""
    assert (await arrived.out()).patch == b""


async def test_files_that_git_converts_are_named_with_the_way_to_apply_a_patch_to_them(host, carry, contents):
    host.git("init", "-q")
    host.git("config", "filter.up.clean", "tr a-z A-Z")
    host.git("config", "filter.up.smudge", "tr A-Z a-z")
    host.put(".gitattributes", b"*.f filter=up\n*.id ident\n")
    host.put("a.f", b"hello\nworld\n")
    host.put("a.id", b"$Id: 1234 $\nx\n")
    host.put("plain", b"x\n")
    arrived = await carry()
    assert "a.f, a.id. Should a patch" in arrived.snapshot.notices[0]
    arrived.put("a.f", b"hello\nagent\n")
    arrived.put("a.id", b"$Id: 1234 $\nagent\n")
    patch = (await arrived.out()).patch
    assert host.git("apply", check=False, stdin=patch).returncode == 1
    host.environ |= {"GIT_DIR": "/dev/null", "GIT_CONFIG_GLOBAL": "/dev/null"}
    host.git("apply", stdin=patch)
    assert contents(host.folder) == contents(arrived.work)


async def test_pipes_sockets_and_names_that_git_refuses_stay_behind_and_are_named(host, carry, contents):
    host.put("a.txt", b"a")
    host.put("deep/.GIT/config", b"[core]\n")
    host.put("git~1", b"x")
    host.put("back\\.git \\x", b"x")
    os.mkfifo(host.folder / "pipe")
    (host.folder / ".gitmodules").symlink_to("a.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(host.folder, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        arrived = await carry()
    assert set(contents(arrived.work)) == {b"a.txt"}
    assert arrived.snapshot.notices == (
        "Left out, because they are sockets, pipes or devices: pipe, socket.",
        r"Left out, because git refuses such names: .gitmodules, back\.git \x, deep/.GIT, git~1.",
    )


async def test_what_cannot_be_read_stays_behind_and_is_named(host, carry, contents, unprivileged):
    host.put("a.txt", b"a")
    host.put("closed.txt", b"x").chmod(0)
    host.put("closed/inside.txt", b"x")
    (host.folder / "closed").chmod(0)
    try:
        with unprivileged():
            arrived = await carry()
    finally:
        (host.folder / "closed").chmod(0o755)
    assert set(contents(arrived.work)) == {b"a.txt"}
    assert arrived.snapshot.notices == ("Left out, because they cannot be read: closed.txt, closed/.",)


@pytest.mark.parametrize("limit", [{"content_bytes": 100_000}, {"entries": 3}])
async def test_a_folder_over_its_limit_is_refused_and_nothing_is_left(host, take, tmp_path, limit):
    host.put("big/a", b"x" * 90_000)
    host.put("big/b", b"x" * 90_000)
    host.put("small/c", b"x")
    host.put("top", b"x" * 2000)
    with pytest.raises(WorkspaceError) as refused:
        await take(**limit)
    if "entries" in limit:
        assert "holds more than 3 files and folders" in str(refused.value)
    else:
        assert "holds 177.7 KiB" in str(refused.value)
        assert "big/ (175.8 KiB), top (2.0 KiB), small/ (1 bytes)" in str(refused.value)
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_unusable_folders_are_refused_in_one_sentence(host, take, tmp_path):
    host.put("file", b"")
    bare = tmp_path / "bare.git"
    host.git("init", "-q", "--bare", str(bare))
    for folder, words in (
        (host.folder / "missing\x1b[31m", "missing?[31m does not exist"),
        (host.folder / "file", "is not a folder"),
        (bare, "is a bare repository"),
    ):
        with pytest.raises(WorkspaceError, match=words.replace("[", r"\[").replace("?", r"\?")):
            await take(folder)


async def test_without_git_the_error_says_what_to_install(host, take, tmp_path, monkeypatch):
    monkeypatch.chdir(host.folder)
    (tmp_path / "bin").mkdir()
    fake = host.put("git", b"#!/bin/sh\ntouch ran\n")
    fake.chmod(0o755)
    host.environ["PATH"] = f".:{tmp_path / 'bin'}"
    with pytest.raises(WorkspaceError, match="apt-get install git"):
        await take()
    assert not (host.folder / "ran").exists()


async def test_limits_must_be_above_zero(take):
    with pytest.raises(WorkspaceError, match="limit patch_bytes of a workspace is -1"):
        await take(patch_bytes=-1)
