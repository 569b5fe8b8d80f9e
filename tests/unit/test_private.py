"""Which folders are of this user alone, and what is said of those that are not."""

import os
import re
import stat
from pathlib import Path

import pytest

from acp_runtime.api.errors import DaemonError
from acp_runtime.cli.background import start_lock
from acp_runtime.mcp.registry import Note, Registry
from acp_runtime.private import NotPrivateError, check_private, is_private, make_private

ANOTHER = 65534
OPEN = ("0755", "0750", "0710", "0701", "0702", "0770", "0777")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: acts as another user")
FOREIGN = ("link", pytest.param("another's", marks=needs_root))


def planted(folder: Path, how: str) -> str:
    """Put something in a folder's place; return what is said of it."""
    us, elsewhere = os.geteuid(), "remove it, or set XDG_RUNTIME_DIR to a folder of yours"
    if how == "link":
        (folder.parent / "real").mkdir(mode=0o700)
        folder.symlink_to(folder.parent / "real")
        return f"{folder} is a link (mode 0777, owner {us}); {elsewhere}"
    folder.mkdir(mode=0o700)
    if how == "another's":
        os.chown(folder, ANOTHER, ANOTHER)
        return f"{folder} belongs to another user (mode 0700, owner {ANOTHER}); {elsewhere}"
    folder.chmod(int(how, 8))
    return f"{folder} is open to others (mode {how}, owner {us}); chmod 700 it"


@pytest.mark.requirement("T18")
@pytest.mark.parametrize("how", [*FOREIGN, *OPEN])
def test_a_folder_that_others_may_write_or_read_or_that_is_not_ours_is_told_with_what_to_do(
    tmp_path: Path, how: str
) -> None:
    said = planted(tmp_path / "folder", how)
    assert not is_private(tmp_path / "folder")
    with pytest.raises(NotPrivateError) as refused:
        check_private(tmp_path / "folder")
    assert str(refused.value) == said


@pytest.mark.parametrize("how", OPEN)
def test_a_folder_of_ours_is_closed_to_others_before_it_is_used(tmp_path: Path, how: str) -> None:
    planted(tmp_path / "folder", how)
    assert make_private(tmp_path / "folder") == tmp_path / "folder"
    assert is_private(tmp_path / "folder")


@pytest.mark.parametrize("how", FOREIGN)
def test_what_is_not_ours_is_refused_by_who_makes_folders_and_left_as_it_is(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "folder"
    said = planted(folder, how)
    before = folder.lstat()
    with pytest.raises(NotPrivateError, match=re.escape(said.replace("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"))):
        make_private(folder, "XDG_CACHE_HOME")
    with pytest.raises(DaemonError, match=re.escape(said)) as refused, start_lock(folder):
        pass
    assert refused.value.kind == "socket_unsafe"
    assert folder.lstat() == before
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", [*FOREIGN, *OPEN])
def test_no_note_for_hooks_is_put_into_a_folder_that_others_may_have_filled(tmp_path: Path, how: str) -> None:
    said = planted(tmp_path / "folder", how)
    note = Note("p", "codex", "/w", os.getpid(), 1)
    with pytest.raises(NotPrivateError, match=re.escape(said)), Registry(tmp_path / "folder").registered(note, None):
        pass


def test_a_folder_that_is_not_there_is_made_for_this_user_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = make_private(tmp_path / "above" / "folder")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
