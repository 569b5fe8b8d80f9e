"""The holder's own functions under the sanitizers, given a kept corpus and what random changes make of it."""

import secrets
from pathlib import Path

import pytest

from tests.contract.fuzzing import LONG_SECONDS, compiled, corpus, tried
from tests.contract.holder.conftest import SOURCE

HERE = Path(__file__).parent
CORPUS = corpus(HERE)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(HERE, SOURCE, tmp_path_factory.mktemp("fuzz") / "fuzz")


@pytest.mark.parametrize("seed", [1, 2])
def test_no_bytes_break_the_holder(fuzz: Path, tmp_path: Path, seed: int):
    assert len(CORPUS) >= 40
    assert tried(fuzz, tmp_path / "place", CORPUS, seed, 2) > 100


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS + 120)
def test_no_bytes_break_the_holder_for_ten_minutes(fuzz: Path, tmp_path: Path):
    seed = secrets.randbelow(1 << 31)
    print(f"\nseed {seed}: {tried(fuzz, tmp_path / 'place', CORPUS, seed, LONG_SECONDS)} inputs")
