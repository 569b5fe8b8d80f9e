import subprocess
import sys
from pathlib import Path


def test_a_file_that_is_begun_with_is_read_whatever_new_files_are_open_to(tmp_path: Path) -> None:
    for what in ("init", "check"):
        argv = [
            sys.executable,
            "-P",
            "-m",
            "acp_runtime.cli.main",
            "config",
            what,
            "--config",
            str(tmp_path / "x.toml"),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, umask=0, check=False)
        assert done.returncode == 0, done.stderr
