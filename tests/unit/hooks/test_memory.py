"""What hooks remember, in a runtime directory whose name anybody can take first: without a login's it is in /tmp."""

import os
from pathlib import Path

import pytest

from acp_runtime.hooks import memory
from acp_runtime.hooks.memory import FOLDER, Memory, MemoryFile, mark_of

SEEN = Memory(token="t-1", shown="s", joined="j")


def test_it_is_there_for_the_next_event_and_for_this_user_alone(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "run", "claude:1 /w")
    file.write(SEEN)
    assert file.read() == SEEN
    assert [each.stat().st_mode & 0o777 for each in (tmp_path / "run", tmp_path / "run" / FOLDER)] == [0o700, 0o700]


@pytest.mark.requirement("T18")
@pytest.mark.parametrize("planted", ["open", "link", "open inside"])
def test_in_a_folder_of_somebody_else_nothing_is_written_and_nothing_is_believed(tmp_path: Path, planted: str) -> None:
    parent, victim = "claude:1 /w", tmp_path / "victim"
    run, real = tmp_path / "run", tmp_path / "real"
    victim.write_text("mine")
    (real / FOLDER).mkdir(parents=True, mode=0o700)
    real.chmod(0o700)
    (real / FOLDER / f"{mark_of(parent)}.json").write_text('{"token": "forged"}')
    (real / FOLDER / f"{mark_of(parent)}.{os.getpid()}").symlink_to(victim)
    if planted == "link":
        run.symlink_to(real)
    else:
        real.rename(run)
        (run if planted == "open" else run / FOLDER).chmod(0o777)
    file = MemoryFile(run, parent)
    assert file.read() == Memory()
    file.write(SEEN)
    file.tidy()
    assert victim.read_text() == "mine"
    assert len(list((run / FOLDER).iterdir())) == 2


def test_what_hooks_left_that_were_cut_while_they_wrote_goes_with_what_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "KEPT", 1)
    file = MemoryFile(tmp_path / "run", "claude:1 /w")
    file.write(SEEN)
    left = tmp_path / "run" / FOLDER / f"{mark_of('another')}.4711"
    left.touch()
    os.utime(left, (1, 1))
    file.tidy()
    assert not left.exists()
    assert file.read() == SEEN
