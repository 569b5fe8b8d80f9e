"""Exported work on disk."""

from pathlib import Path

from acp_runtime.manager.launcher import Work
from acp_runtime.manager.work import work_bytes, write_work


def test_what_goes_while_the_work_is_counted_counts_as_nothing(tmp_path: Path) -> None:
    write_work(tmp_path, "bg-1", Work(b"patch", 1, 1, 0, ""))
    size = work_bytes(tmp_path, "bg-1")
    (tmp_path / "bg-1.json.partial").symlink_to(tmp_path / "gone")  # found by the listing, and then not there
    assert work_bytes(tmp_path) == size > len(b"patch")
