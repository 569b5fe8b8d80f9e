"""The holder's own functions under the sanitizers, given a kept corpus and what random changes make of it."""

import secrets
import subprocess
from pathlib import Path

import pytest

from tests.contract.holder.conftest import SOURCE, compile_sanitized

HERE = Path(__file__).parent
CORPUS = sorted(HERE.glob("corpus/*.bin"))
LONG_SECONDS = 600


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("fuzz") / "fuzz"
    return compile_sanitized(HERE / "fuzz.c", target, "-I", str(SOURCE.parent))


def tried(fuzz: Path, folder: Path, seed: int, seconds: int) -> int:
    folder.mkdir()
    argv = [str(fuzz), str(folder), str(seed), str(seconds), *map(str, CORPUS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"
    return int(done.stdout)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_bytes_break_the_holder(fuzz: Path, tmp_path: Path, seed: int):
    assert len(CORPUS) >= 30
    assert tried(fuzz, tmp_path / "journal", seed, 2) > 100


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS + 120)
def test_no_bytes_break_the_holder_for_ten_minutes(fuzz: Path, tmp_path: Path):
    seed = secrets.randbelow(1 << 31)
    print(f"\nseed {seed}: {tried(fuzz, tmp_path / 'journal', seed, LONG_SECONDS)} inputs")
