"""The parent never misses: real daemons, agents and parents, ended and killed at random moments."""

import pytest

from tests.e2e.daemon_site import daemon_site
from tests.e2e.rounds import Found, Round, figures

SHORT = 4
LONG = 100


async def play(tmp_path_factory: pytest.TempPathFactory, seeds: range) -> Found:
    total = Found()
    for seed in seeds:
        with daemon_site(tmp_path_factory.mktemp("r", numbered=True)) as site:
            found = await Round(site, seed).play()
            assert found.good, (seed, found, site.log()[-6_000:])
            total.add(found)
    return total


@pytest.mark.requirement("P15", "B07", "B24")
async def test_no_parent_misses_or_is_told_twice_whatever_ends(tmp_path_factory: pytest.TempPathFactory) -> None:
    total = await play(tmp_path_factory, range(SHORT))
    assert total.nudges > SHORT
    assert total.tasks > SHORT


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_hundred_rounds_lose_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    total = await play(tmp_path_factory, range(1_000, 1_000 + LONG))
    print(figures(total, LONG))
    assert set(total.faults) == {"kill", "term", "replace", "parent", "none"}


async def test_the_judge_sees_a_parent_that_commits_before_it_has_seen(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with daemon_site(tmp_path_factory.mktemp("r", numbered=True)) as site:
        found = await Round(site, 0, forgetful=True).play()
    assert found.lost
    assert "was never seen by" in found.lost[0]
