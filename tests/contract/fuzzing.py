"""How a program's own functions are tried under the sanitizers: with a kept corpus, and what random changes make of it.

Each program has `fuzz.c` and `corpus` in the folder of its tests; `fuzzing.h` is what they share.
"""

import subprocess
from pathlib import Path

from tests.contract.holder.conftest import compile_sanitized

LONG_SECONDS = 600


def corpus(folder: Path) -> list[Path]:
    return sorted(folder.glob("corpus/*.bin"))


def compiled(folder: Path, source: Path, target: Path) -> Path:
    """Compile the fuzzer of a folder with the program whose source that is."""
    return compile_sanitized(folder / "fuzz.c", target, "-I", str(source.parent), "-I", str(Path(__file__).parent))


def tried(fuzz: Path, folder: Path, kept: list[Path], seed: int, seconds: int) -> int:
    """Return how many inputs were tried in so many seconds, none of which broke anything; `folder` is made."""
    folder.mkdir()
    argv = [str(fuzz), str(folder), str(seed), str(seconds), *map(str, kept)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"
    return int(done.stdout)
