"""The forwarder's socket: who may connect, where it may be, and what becomes of it."""

import contextlib
import os
import resource
import socket
import stat

import pytest

from acp_runtime.carrying.unix_listener import UnixListener
from acp_runtime.core.errors import Rejected

GID = os.getegid()


def connects(path) -> bool:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(f"/proc/self/fd/{folder}/{path.name}") == 0
    finally:
        os.close(folder)


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_socket_is_for_its_group_whatever_the_umask_is(tmp_path):
    path = tmp_path / "run" / "model.sock"
    listener = UnixListener(path, GID)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    assert (path.stat().st_gid, path.parent.stat().st_gid) == (GID, GID)
    assert connects(path)
    listener.close()
    assert not path.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sets a group that this user is not in")
def test_the_group_is_the_given_one(tmp_path):
    path = tmp_path / "run" / "model.sock"
    listener = UnixListener(path, 12345)
    assert (path.stat().st_gid, path.parent.stat().st_gid) == (12345, 12345)
    listener.close()


def test_a_folder_that_was_there_stays_and_so_does_what_is_in_it(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o750)
    (folder / "relay").touch()
    listener = UnixListener(folder / "model.sock", GID)
    listener.close()
    assert [path.name for path in folder.iterdir()] == ["relay"]


def test_a_path_longer_than_a_sockets_address_works(tmp_path):
    folder = tmp_path / ("d" * 200) / "run"
    folder.parent.mkdir(mode=0o750)
    listener = UnixListener(folder / "model.sock", GID)
    assert connects(folder / "model.sock")
    listener.close()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o751, 0o752])
def test_a_folder_that_others_can_enter_or_the_group_can_change_is_refused(tmp_path, mode):
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(Rejected, match=rf"open to others \(mode {mode:04o}.*use 0750"):
        UnixListener(folder / "model.sock", GID)
    assert list(folder.iterdir()) == []


def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path):
    path = tmp_path / "model.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not connects(path)
    listener = UnixListener(path, GID)
    assert connects(path)
    listener.close()


def test_a_socket_on_which_somebody_listens_is_left_alone(tmp_path):
    path = tmp_path / "model.sock"
    listener = UnixListener(path, GID)
    with pytest.raises(Rejected, match="another process listens"):
        UnixListener(path, GID)
    assert connects(path)
    listener.close()


def test_something_else_in_its_place_is_left_alone(tmp_path):
    path = tmp_path / "model.sock"
    path.write_text("mine")
    with pytest.raises(Rejected, match="something else"):
        UnixListener(path, GID)
    assert path.read_text() == "mine"


def test_a_link_in_its_place_is_not_followed(tmp_path):
    path = tmp_path / "model.sock"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Rejected, match="something else"):
        UnixListener(path, GID)
    assert not (tmp_path / "elsewhere").exists()


def test_another_socket_that_took_the_place_is_not_removed_at_the_end(tmp_path):
    path = tmp_path / "model.sock"
    listener = UnixListener(path, GID)
    path.rename(tmp_path / "moved")
    other = UnixListener(path, GID)
    listener.close()
    assert connects(path)
    other.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [("missing/run/model.sock", "No such file"), ("run/" + "s" * 120, "too long"), ("file/x", "Not a dir")],
)
def test_a_place_where_no_socket_can_be_is_refused_with_the_reason(tmp_path, name, why):
    (tmp_path / "file").touch()
    with pytest.raises(Rejected, match=why) as caught:
        UnixListener(tmp_path / name, GID)
    assert caught.value.kind == "socket_refused"
    assert not (tmp_path / "run").exists()


@contextlib.contextmanager
def room_for(files):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 100, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/", os.O_RDONLY))
        for _ in range(files):
            os.close(taken.pop())
        yield
        taken += [os.open("/", os.O_RDONLY) for _ in range(files)]  # else one of them was kept
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


def test_a_process_that_may_open_no_more_files_is_told_so_and_keeps_none(tmp_path):
    left = tmp_path / "left" / "model.sock"
    left.parent.mkdir(mode=0o750)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    for room in (0, 1):  # for nothing, and for the folder alone
        with room_for(room), pytest.raises(Rejected, match="Too many open files"):
            UnixListener(tmp_path / "run" / "model.sock", GID)
    with room_for(2), pytest.raises(Rejected, match="Too many open files"):  # not for a look who listens there
        UnixListener(left, GID)
    assert list(tmp_path.iterdir()) == [left.parent]
