"""The programs' own functions under the sanitizers, given a kept corpus and what random changes make of it.

Each program has `fuzz.c` and `corpus` in the folder of its tests; `fuzzing.h` is what the two share.
"""

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.holder.conftest import SOURCE as HOLDER
from tests.contract.holder.conftest import compile_sanitized
from tests.contract.relay.conftest import SOURCE as RELAY

HERE = Path(__file__).parent
LONG_SECONDS = 600
LEAST = {"holder": 40, "relay": 38}


@dataclass(frozen=True)
class Fuzzer:
    """A fuzzer, compiled, and its corpus."""

    program: Path
    name: str
    corpus: list[Path]

    def tried(self, folder: Path, seed: int, seconds: int) -> int:
        """Return how many inputs were tried in so many seconds, none of which broke anything; `folder` is made."""
        folder.mkdir()
        argv = [str(self.program), str(folder), str(seed), str(seconds), *map(str, self.corpus)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
        assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"
        return int(done.stdout)


@pytest.fixture(scope="module", params=[HOLDER, RELAY], ids=lambda source: source.stem)
def fuzz(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    source: Path = request.param
    folder, target = HERE / source.stem, tmp_path_factory.mktemp("fuzz") / "fuzz"
    program = compile_sanitized(folder / "fuzz.c", target, "-I", str(source.parent), "-I", str(HERE))
    return Fuzzer(program, source.stem, sorted(folder.glob("corpus/*.bin")))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_bytes_break_a_program(fuzz: Fuzzer, tmp_path: Path, seed: int):
    assert len(fuzz.corpus) >= LEAST[fuzz.name]
    assert fuzz.tried(tmp_path / "place", seed, 2) > 100


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS + 120)
def test_no_bytes_break_a_program_for_ten_minutes(fuzz: Fuzzer, tmp_path: Path):
    seed = secrets.randbelow(1 << 31)
    print(f"\nseed {seed}: {fuzz.tried(tmp_path / 'place', seed, LONG_SECONDS)} inputs")
