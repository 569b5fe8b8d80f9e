"""Folders that live as long as their process: real processes, killed in the middle."""

import subprocess
import sys
from pathlib import Path

from sandbox.claimed import abandoned, claimed

HOLDER = """
import pathlib, sys
from sandbox.claimed import claimed
with claimed(pathlib.Path(sys.argv[1]), "p") as folder:
    (folder / "in it").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    command = [sys.executable, "-c", HOLDER, str(parent)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_there_inside_the_block_and_gone_after_it(tmp_path: Path) -> None:
    with claimed(tmp_path, "p") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert abandoned(tmp_path, "p", remove=True) == []
        assert folder.is_dir()
    assert not folder.exists()


def test_what_a_killed_process_held_is_abandoned_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    (dead, left), (alive, held) = holder(tmp_path), holder(tmp_path)
    with dead, alive:
        assert abandoned(tmp_path, "p", remove=True) == []
        dead.kill()
        dead.wait()
        assert abandoned(tmp_path, "p", remove=False) == [left]
        assert (left / "in it").exists()
        assert abandoned(tmp_path, "p", remove=True) == [left]
        assert not left.exists()
        assert held.is_dir()
        alive.communicate("")
    assert not held.exists()


def test_what_is_no_such_folder_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (tmp_path / "pabcdefgh").symlink_to(other)
    (tmp_path / "p0000000").mkdir()
    (tmp_path / "p00000000.sock").mkdir()
    (tmp_path / "q00000000").mkdir()
    (tmp_path / "p00000001").write_text("a file")
    assert abandoned(tmp_path, "p", remove=True) == []
    assert len(list(tmp_path.iterdir())) == 6
    assert abandoned(tmp_path / "none", "p", remove=True) == []
