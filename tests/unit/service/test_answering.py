"""Who may allow a host that a subagent asks for: within the ceiling, and a subagent within what it reaches itself."""

from pathlib import Path

import pytest

from acp_runtime.callers import Leader
from acp_runtime.config import Config, load
from acp_runtime.core.confinement import Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import Denied
from acp_runtime.core.model import Order, Subagent
from acp_runtime.core.wishes import ALLOW, REFUSE
from acp_runtime.service.answering import vetted
from tests.histories import after, ready, spawn

RULE = "api.example.org:443"
LEADER = Leader("bg-0000000001")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(f'ceiling = "wide"\n\n[presets.wide]\nnetwork = "egress"\negress = ["{RULE}"]\n')
    return load(file, {"HOME": str(tmp_path)})


def reaching(*rules: str) -> Subagent:
    return ready(spawn(order=Order(agent="scripted", workspace="/w", preset="friendly", egress=Egress(rules))))


ASKED = after(reaching(), Denied(1, RULE))


@pytest.mark.requirement("T24")
def test_a_subagent_allows_its_own_no_host_that_it_does_not_reach_itself(config: Config) -> None:
    for leader in (reaching(), reaching("other.example.org:443"), None):
        with pytest.raises(Rejected, match="you do not reach") as refused:
            vetted(config, LEADER, ASKED, "e1", ALLOW, leader=leader)
        assert refused.value.kind == "beyond_ceiling"
        assert vetted(config, LEADER, ASKED, "e1", REFUSE, leader=leader) is None


def test_a_subagent_that_reaches_a_host_and_a_parent_outside_may_allow_it(config: Config) -> None:
    assert vetted(config, LEADER, ASKED, "e1", ALLOW, leader=reaching(RULE)) is None
    assert vetted(config, "editor", ASKED, "e1", ALLOW) is None
