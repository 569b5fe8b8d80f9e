"""The folder of an agent: what others may do in it, and that a container that goes on keeps the one it has."""

import os
import stat

import pytest

from acp_runtime.manager.launcher import LaunchError
from acp_runtime.manager.run_dir import EPOCH, HOLDER, make_run_dir, remove_run_dir


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_only_owner_and_group_enter_and_the_group_makes_sockets_in_one_place_only(tmp_path):
    folder = make_run_dir(tmp_path / "run", "store", "s1", 1)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / HOLDER)]
    assert modes == [0o750, 0o770]


@pytest.mark.requirement("T18")
def test_a_link_or_an_open_folder_in_its_place_is_not_used_as_it_is(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LaunchError, match=r"linked is a link .*; remove it, or set XDG_RUNTIME_DIR"):
        make_run_dir(tmp_path / "linked", "store", "s1", 1)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    make_run_dir(tmp_path / "open", "store", "s1", 1)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_a_folder_is_made_anew_or_kept_with_what_is_in_it(tmp_path):
    first = make_run_dir(tmp_path, "store", "s1", 1)
    (first / HOLDER / "holder.sock").touch()
    before = [path.stat().st_ino for path in (first, first / HOLDER)]
    (first / HOLDER).chmod(0o700)
    kept = make_run_dir(tmp_path, "store", "s1", 1, keep=True)
    assert [path.stat().st_ino for path in (kept, kept / HOLDER)] == before
    assert stat.S_IMODE((kept / HOLDER).stat().st_mode) == 0o770
    assert (kept / HOLDER / "holder.sock").exists()
    anew = make_run_dir(tmp_path, "store", "s1", 1)
    assert list((anew / HOLDER).iterdir()) == []


def test_one_that_shall_be_kept_and_is_not_there_is_made(tmp_path):
    folder = make_run_dir(tmp_path, "store", "s1", 1, keep=True)
    assert (folder / HOLDER).is_dir()
    assert remove_run_dir(tmp_path, "store", "s1", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("D09.4")
@pytest.mark.parametrize("keep", [True, False])
def test_an_earlier_manager_leaves_the_folder_of_a_later_one_as_it_is(tmp_path, keep):
    """It was stopped in the middle of a start, and wakes up when the next manager's agent has the folder mounted."""
    make_run_dir(tmp_path, "store", "s1", 1)
    folder = make_run_dir(tmp_path, "store", "s1", 2, keep=keep)
    (folder / HOLDER / "holder.sock").touch()
    for way in (True, False):
        with pytest.raises(LaunchError, match="epoch 2") as refused:
            make_run_dir(tmp_path, "store", "s1", 1, keep=way)
        assert refused.value.kind == "fenced"
    assert not remove_run_dir(tmp_path, "store", "s1", 1)
    assert (folder / HOLDER / "holder.sock").exists()
    assert remove_run_dir(tmp_path, "store", "s1", 2)
    assert not folder.exists()


def test_a_folder_whose_manager_cannot_be_read_is_anybodys(tmp_path):
    for words in ("", "many", None):
        folder = make_run_dir(tmp_path, "store", "s1", 2)
        (folder / EPOCH).unlink() if words is None else (folder / EPOCH).write_text(words)
        make_run_dir(tmp_path, "store", "s1", 1)
