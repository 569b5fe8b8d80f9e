"""What the kernel counts, in the files of either version of cgroups, as the holder reads them."""

import subprocess
from pathlib import Path

import pytest

from sandbox.holder.frames import UNKNOWN
from tests.contract.holder.conftest import SOURCE, compile_sanitized

MEMORY_EVENTS = "low 0\nhigh 3\nmax 41\noom 5\noom_kill 4\noom_group_kill 9\n"
OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
PIDS_EVENTS = "max 7\n"


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("counters") / "counters"
    return compile_sanitized(Path(__file__).with_name("counters.c"), target, "-I", str(SOURCE.parent))


@pytest.mark.parametrize(
    ("word", "files", "numbers"),
    [
        ("oom_kill", (MEMORY_EVENTS, None), (0, 4)),
        ("oom_kill", (MEMORY_EVENTS, OOM_CONTROL), (1, 3)),
        ("oom_kill", (None, OOM_CONTROL), (0, 2)),
        ("max", (PIDS_EVENTS, None), (2, 5)),
        ("max", (None, PIDS_EVENTS), (0, 7)),
        ("oom_kill", (None, None), (0, UNKNOWN)),
        ("oom_kill", ("low 0\n", None), (0, UNKNOWN)),
        ("oom_kill", ("", None), (0, UNKNOWN)),
        ("oom_kill", (MEMORY_EVENTS, None), (UNKNOWN, UNKNOWN)),
        ("max", ("x" * 5000, None), (0, UNKNOWN)),
        ("max", ("a 1\n" * 500 + "max 3\n", None), (0, UNKNOWN)),
    ],
)
def test_the_kernels_counters_are_read_in_either_form(counters, tmp_path, word, files, numbers):
    before, counted = numbers
    paths = [tmp_path / "v2", tmp_path / "v1"]
    for path, text in zip(paths, files, strict=True):
        if text is not None:
            path.write_text(text)
    argv = [str(counters), word, *map(str, paths), str(before)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr, int(done.stdout)) == (0, "", counted)
