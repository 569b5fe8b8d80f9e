"""What subagents stand on: the operator sees all of it, a parent what concerns its own."""

from dataclasses import dataclass, field

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.cli.status import NO_GATEWAY, gateway_words
from acp_runtime.gateway.onlooker import Seen
from acp_runtime.manager.grounds import Grounds
from tests.integration.manager.conftest import PARENT, Ground
from tests.integration.service.conftest import STRANGER, Bench

GATEWAY = Seen("/run/gateway.sock", "store", pid=7, answers=True, version="1", accounts=2)


@dataclass
class Told(Ground):
    """A ground of which is told what a test says."""

    found: Grounds = field(default_factory=Grounds)

    async def grounds(self) -> Grounds:
        return self.found


@pytest.fixture
def ground(ground: Ground) -> Told:
    return Told(ground.folder, kinds=ground.kinds)


@pytest.mark.requirement("D09.37")
async def test_a_parent_hears_of_its_own_alone_and_the_operator_of_all(ground: Told, bench: Bench) -> None:
    mine = (await bench.spawn("[[say:x]]"))["id"]
    theirs = (await bench.another(STRANGER).spawn("[[say:x]]"))["id"]
    ground.found = Grounds(GATEWAY, (mine, theirs), "why")
    assert await bench.runtime.grounds(OPERATOR) == ground.found
    assert await bench.runtime.grounds(PARENT) == Grounds(None, (mine,), "why")
    assert await bench.runtime.grounds(STRANGER) == Grounds(None, (theirs,), "why")


@pytest.mark.requirement("D09.40")
async def test_why_there_is_no_gateway_is_the_operators_to_see(ground: Told, bench: Bench) -> None:
    ground.found = Grounds(no_gateway="The gateway could not be started: no room.")
    assert (await bench.runtime.grounds(OPERATOR)).no_gateway == ground.found.no_gateway
    assert (await bench.runtime.grounds(PARENT)).no_gateway == ""
    words = gateway_words(None, ground.found.no_gateway)
    assert words == f"{NO_GATEWAY}: The gateway could not be started: no room."
