"""What a daemon holds on to, measured over half an hour of twenty agents that come and go."""

import json
from dataclasses import asdict

import pytest

from tests.faults.storm.driver import FLAT, PARENTS
from tests.faults.storm.site import StormSite
from tests.faults.storm.soak import Soak

pytestmark = [pytest.mark.docker, pytest.mark.long]

SECONDS, GENERATION, AGENTS = 1800.0, 240.0, 20


@pytest.mark.timeout(3600)
def test_a_daemon_holds_on_to_nothing_of_agents_that_are_gone(site: StormSite) -> None:
    measures = Soak(site, 1, 0, agents=AGENTS // len(PARENTS), kinds=FLAT).run(SECONDS, GENERATION)
    print(f"{len(measures)} generations of {AGENTS} agents:", json.dumps(asdict(measures[-1])))
    for measure in measures:
        assert measure.beyond(measures[0]) == {}
        assert (measure.containers, measure.volumes) == (0, 0)
