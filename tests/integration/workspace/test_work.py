"""What the agent leaves in its folder, and what of it the patch holds."""

import os
import shutil
from dataclasses import replace

import pytest

from sandbox.errors import WorkspaceError
from sandbox.workspace import Guest, LocalRunner, WorkspaceLimits, take_out
from tests.integration.workspace.planted import Traps


@pytest.fixture
def traps(tmp_path):
    return Traps(tmp_path / "canaries")


@pytest.fixture
def applied(host, contents):
    """Applies the work on the host and shows that the host then has what the agent has."""

    def apply(arrived, work):
        host.git("apply", stdin=work.patch)
        assert contents(host.folder) == contents(arrived.work)

    return apply


async def test_no_change_is_no_patch(host, carry):
    head = host.repository()
    arrived = await carry()
    work = await arrived.out()
    assert (work.patch, work.files, work.diffstat, work.notices) == (b"", 0, "", ())
    assert work.tree == arrived.snapshot.base_tree == host.git("rev-parse", f"{head}^{{tree}}").stdout.decode().strip()


async def test_the_work_is_counted_and_its_patch_fits_the_dirty_folder(host, carry, applied):
    host.repository()
    host.put("kept.txt", b"one\ntwo\nuncommitted\n")
    host.put("binary", bytes(range(256)) * 40)
    host.put("to-move.txt", b"".join(b"line %d\n" % number for number in range(50)))
    arrived = await carry()
    arrived.put("kept.txt", b"one\nagent\nuncommitted\n")
    arrived.put("binary", bytes(range(255, -1, -1)) * 40)
    arrived.put("new/file\twith tab", b"no newline at the end")
    arrived.put("dos.bat", b"one\r\ntwo\r\n").chmod(0o755)
    (arrived.work / "link").symlink_to("kept.txt")
    (arrived.work / "to-move.txt").rename(arrived.work / "moved.txt")
    (arrived.work / "folder/deep.txt").unlink()
    work = await arrived.out()
    assert (work.files, work.insertions, work.deletions) == (7, 5, 2)
    assert b"rename from to-move.txt\nrename to moved.txt\n" in work.patch
    assert "7 files changed, 5 insertions(+), 2 deletions(-)" in work.diffstat
    assert work.notices == ("These are symbolic links: link.",)
    applied(arrived, work)


async def test_commits_of_the_agent_and_uncommitted_work_are_one_patch(host, carry, applied):
    host.repository()
    arrived = await carry()
    arrived.put("committed.txt", b"1\n")
    arrived.git("add", ".")
    arrived.git("commit", "-q", "-m", "by agent")
    arrived.put("open.txt", b"2\n")
    work = await arrived.out()
    assert work.files == 2
    applied(arrived, work)


async def test_taking_out_twice_gives_the_same_and_later_work_is_in_the_next(host, carry):
    host.repository()
    arrived = await carry()
    arrived.put("a.txt", b"1\n")
    first = await arrived.out()
    assert await arrived.out() == first
    arrived.put("b.txt", b"2\n")
    assert (await arrived.out()).files == 2


async def test_another_manager_can_take_the_work_out_with_the_volumes_alone(host, carry, applied):
    host.repository()
    arrived = await carry(host.folder / "folder")
    arrived.put("deep.txt", b"agent\n")
    successor = Guest(
        LocalRunner(os.environ["PATH"]), WorkspaceLimits(), base=arrived.guest.base, work=arrived.guest.work
    )
    assert b"+++ b/folder/deep.txt" in (await take_out(successor)).patch


@pytest.mark.parametrize("where", ["folder", "folder/.."])
async def test_a_patch_to_a_folder_inside_a_repository_fits_there_and_at_the_top(host, carry, contents, where):
    """Git skips without a word what a patch has outside of the folder it is applied in; so the paths are the top's."""
    host.repository()
    arrived = await carry(host.folder / "folder")
    arrived.put("new.txt", b"agent\n")
    (arrived.work / "deep.txt").rename(arrived.work / "moved.txt")
    work = await arrived.out()
    host.git("apply", cwd=host.folder / where, stdin=work.patch)
    assert contents(host.folder / "folder") == contents(arrived.work)


async def test_a_patch_fits_a_folder_without_a_repository(host, carry, applied):
    host.put("a.txt", b"one\r\ntwo\r\n")
    host.put("b/binary", bytes(range(256)))
    arrived = await carry()
    arrived.put("a.txt", b"one\r\nagent\r\nlast line")
    arrived.put("b/binary", bytes(range(200)))
    arrived.put("c/new.txt", b"new")
    applied(arrived, await arrived.out())


async def test_a_patch_fits_where_git_converts_line_ends(host, carry, applied):
    host.repository()
    host.put(".gitattributes", b"*.bat eol=crlf\n*.txt text=auto\n")
    host.put("run.bat", b"one\r\ntwo\r\nthree\r\n")
    host.put("auto.txt", b"one\r\ntwo\r\nthree\r\n")
    host.git("add", ".")
    host.git("commit", "-q", "-m", "line ends")
    arrived = await carry()
    arrived.put("run.bat", b"one\r\nagent\r\nthree\r\n")
    arrived.put("auto.txt", b"one\r\nagent\r\nthree\r\n")
    arrived.put("new.bat", b"new\r\n")
    applied(arrived, await arrived.out())


async def test_what_the_rules_ignore_is_named_and_not_in_the_patch(host, carry):
    host.repository()
    host.put(".gitignore", b"build/\n*.log\n")
    arrived = await carry()
    arrived.put("build/out.o", b"1")
    arrived.put("folder/trace.log", b"1")
    work = await arrived.out()
    assert work.patch == b""
    assert work.notices == ("Not in the patch, because an ignore rule names them: build/, folder/trace.log.",)


async def test_changes_that_tools_obey_unasked_are_pointed_out(host, carry):
    host.repository()
    host.put(".envrc", b"old")
    arrived = await carry()
    (arrived.work / ".envrc").unlink()
    for name in (".vscode/tasks.json", "deep/.mcp.json", "bare/HEAD", "bare/config", "harmless/HEAD"):
        arrived.put(name, b"x\n")
    assert (await arrived.out()).notices == (
        "Read these before you use the folder, for tools obey them unasked: .vscode/tasks.json, bare/, deep/.mcp.json.",
    )


async def test_a_patch_over_its_limit_is_refused_with_sizes_and_nothing_is_lost(host, carry, applied):
    host.repository()
    host.put("old", os.urandom(90_000))
    arrived = await carry(patch_bytes=100_000)
    arrived.put("big\x1b", os.urandom(300_000))
    arrived.put("bigger", os.urandom(400_000))
    (arrived.work / "old").unlink()
    with pytest.raises(WorkspaceError) as refused:
        await arrived.out()
    assert "larger than 97.7 KiB" in str(refused.value)
    assert "bigger (390.6 KiB), big? (293.0 KiB), old (87.9 KiB)" in str(refused.value)
    arrived.guest = replace(arrived.guest, limits=WorkspaceLimits())
    applied(arrived, await arrived.out())


async def test_a_sparse_file_over_the_limit_is_refused_unread(host, carry):
    host.repository()
    host.put(".gitignore", b"ignored\n")
    arrived = await carry(content_bytes=1_000_000)
    for name in ("ignored", "sparse"):
        with (arrived.work / name).open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(WorkspaceError, match=r"^sparse is larger than 976\.6 KiB"):
        await arrived.out()


@pytest.mark.parametrize("vandalism", ["removed", "emptied", "linked", "file", "rewritten", "locked", "none"])
async def test_whatever_the_agent_did_to_its_repository_the_work_comes_out(host, carry, applied, tmp_path, vandalism):
    host.repository()
    host.put("kept.txt", b"uncommitted\n")
    arrived = await carry()
    directory = arrived.work / ".git"
    if vandalism in {"removed", "emptied", "linked", "file"}:
        shutil.rmtree(directory)
    if vandalism == "emptied":
        directory.mkdir()
    elif vandalism == "linked":
        directory.symlink_to("/etc")
    elif vandalism == "file":
        directory.write_text(f"gitdir: {tmp_path}\n")
    elif vandalism == "rewritten":
        arrived.git("checkout", "-q", "--orphan", "other")
        arrived.git("rm", "-q", "--cached", "-r", ".")
        arrived.git("commit", "-q", "--allow-empty", "-m", "nothing")
        arrived.git("update-ref", "-d", "refs/heads/main")
        arrived.git("gc", "-q", "--prune=now")
    elif vandalism == "locked":
        (directory / "index.lock").touch()
        (directory / "info/exclude").write_text("*\n")
        (directory / "info/attributes").write_text("* filter=x -text\n")
        (directory / "objects").chmod(0)
    arrived.put("folder/deep.txt", b"by agent\n")
    arrived.put("new.txt", b"new\n")
    work = await arrived.out()
    assert work.files == 2
    applied(arrived, work)


async def test_nothing_the_agent_planted_runs_while_its_work_is_taken_out(host, carry, traps, applied):
    host.repository()
    arrived = await carry()
    nested = arrived.work / "nested"
    nested.mkdir()
    host.git("init", "-q", cwd=nested)
    for work in (arrived.work, nested):
        traps.plant(work)
        (work / ".git/info/attributes").unlink(missing_ok=True)
        (work / "lower.txt").write_bytes(b"lower\n")
    taken = await arrived.out()
    assert traps.sprung() == set()
    assert b"+lower\n" in taken.patch
    host.git("status", cwd=arrived.work, check=False)
    host.git("add", ".", cwd=arrived.work, check=False)
    assert {"fsmonitor", "clean", "hook-post-index-change"} <= traps.sprung()


async def test_attributes_of_the_agent_neither_change_nor_hide_a_byte(host, carry, applied):
    host.repository()
    arrived = await carry()
    arrived.put(".gitattributes", b"* -diff binary text eol=crlf ident working-tree-encoding=UTF-16 filter=x\n")
    arrived.put("kept.txt", b"one\r\n$Id: 1 $\n")
    work = await arrived.out()
    assert b"+one\r\n+$Id: 1 $\n" in work.patch
    shutil.rmtree(host.folder / ".git")
    host.environ["GIT_DIR"] = "/dev/null"  # the attributes would hold for the host's git as well
    applied(arrived, work)


async def test_repositories_that_the_agent_made_go_along_as_files(host, carry, applied):
    host.repository()
    arrived = await carry()
    for name in ("unborn", "born", "born/inner", "kept.txt"):
        folder = arrived.work / name
        folder.unlink(missing_ok=True) if folder.is_file() else None
        folder.mkdir(exist_ok=True)
        host.git("init", "-q", cwd=folder)
        arrived.put(f"{name}/file.txt", b"inside\n")
    arrived.put("born/.gitignore", b"*.log\n")
    arrived.put("born/x.log", b"1")
    host.git("add", ".gitignore", cwd=arrived.work / "born")
    host.git("commit", "-q", "-m", "born", cwd=arrived.work / "born")
    host.git("commit", "-q", "--allow-empty", "-m", "file", cwd=arrived.work / "kept.txt")
    work = await arrived.out()
    assert b"Subproject" not in work.patch
    assert "without their history: the repositories: born/, born/inner/, kept.txt/, unborn/." in work.notices[0]
    for name in ("unborn", "born", "born/inner", "kept.txt"):
        shutil.rmtree(arrived.work / name / ".git")
    (arrived.work / "born/x.log").unlink()
    applied(arrived, work)


async def test_names_that_git_refuses_are_named_and_the_rest_comes_out(host, carry):
    host.repository()
    arrived = await carry()
    arrived.put("deep/.GIT/config", b"[core]\n")
    (arrived.work / ".gitmodules").symlink_to("kept.txt")
    (arrived.work / "deep/.gitmodules").symlink_to("\n")
    os.mkfifo(arrived.work / "pipe")
    arrived.put("Git~1 .", b"x")
    arrived.put("new.txt", b"new\n")
    work = await arrived.out()
    assert work.files == 1
    assert work.notices == (
        "Not in the patch, because git refuses such names: .gitmodules, Git~1 ., deep/.GIT/config, deep/.gitmodules.",
    )


async def test_a_pipe_in_the_place_of_rules_does_not_keep_git_waiting(host, carry):
    host.repository()
    arrived = await carry(seconds=20)
    for name in (".gitignore", "folder/.gitignore", "folder/.gitattributes"):
        os.mkfifo(arrived.work / name)
    arrived.put("new.txt", b"new\n")
    assert (await arrived.out()).files == 1


async def test_what_cannot_be_read_is_named_and_never_taken_for_removed(host, carry, unprivileged):
    host.repository()
    with unprivileged():
        arrived = await carry()
        arrived.put("new.txt", b"new\n")
        arrived.put("closed.txt", b"x").chmod(0)
        (arrived.work / "kept.txt").chmod(0)
        (arrived.work / "folder").chmod(0)
        work = await arrived.out()
        (arrived.work / "folder").chmod(0o755)
    assert work.files == 1
    assert work.notices[0] == "Not in the patch, because they cannot be read: closed.txt, folder/, kept.txt."


async def test_a_folder_replaced_by_a_link_is_a_link_in_the_patch(host, carry, applied, tmp_path):
    host.repository()
    arrived = await carry()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/deep.txt").write_bytes(b"from outside\n")
    shutil.rmtree(arrived.work / "folder")
    (arrived.work / "folder").symlink_to(tmp_path / "outside")
    work = await arrived.out()
    assert b"from outside" not in work.patch
    applied(arrived, work)


async def test_a_link_that_moves_away_for_a_folder_leaves_a_patch_that_fits(host, carry, applied):
    host.repository()
    (host.folder / "place").symlink_to("nowhere")
    arrived = await carry()
    (arrived.work / "place").rename(arrived.work / "moved")
    arrived.put("place/file.txt", b"x\n")
    applied(arrived, await arrived.out())


async def test_a_path_too_deep_to_open_is_named_and_the_rest_comes_out(host, carry):
    host.repository()
    arrived = await carry()
    here = os.open(arrived.work, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    arrived.put("new.txt", b"new\n")
    work = await arrived.out()
    assert work.files == 1
    assert "because they cannot be read: dddd" in work.notices[0]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (
            b"diff --git a/.git/hooks/x b/.git/hooks/x\nnew file mode 100755\n--- /dev/null\n+++ b/.git/hooks/x\n",
            "invalid path",
        ),
        (
            b"diff --git a/.GIT/config b/.GIT/config\nnew file mode 100755\n--- /dev/null\n+++ b/.GIT/config\n",
            "invalid path",
        ),
        (b"diff --git a/../x b/../x\nnew file mode 100644\n--- /dev/null\n+++ b/../x\n", "invalid path"),
        (
            b"diff --git a/link/x b/link/x\nnew file mode 100644\n--- /dev/null\n+++ b/link/x\n",
            "beyond a symbolic link",
        ),
    ],
)
async def test_a_forged_patch_cannot_leave_the_folder_when_it_is_applied(host, tmp_path, patch, reason):
    host.repository()
    (tmp_path / "outside").mkdir()
    (host.folder / "link").symlink_to(tmp_path / "outside")
    refused = host.git("apply", check=False, stdin=patch + b"@@ -0,0 +1 @@\n+x\n")
    assert refused.returncode != 0
    assert reason in refused.stderr.decode()
    assert list((tmp_path / "outside").iterdir()) == []
    assert not (tmp_path / "x").exists()
    assert not (host.folder / ".git/hooks/x").exists()
