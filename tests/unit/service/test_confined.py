"""What an editor's agent in a sandbox may have the daemon spawn: nothing that it does not have itself."""

from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.config import Config, load
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected
from acp_runtime.core.evolve import evolve
from acp_runtime.core.model import Permissions, Subagent
from acp_runtime.service.order import SpawnRequest, confined, spawn_input

CONFIG = """
default_preset = "restricted"
ceiling = "wide"

[agents.other]
argv = ["other"]

[agents.bare]
argv = ["bare"]

[presets.reaching]
network = "egress"
egress = ["example.org:443"]
memory = 2048

[presets.wide]
network = "egress"
egress = ["example.org:443"]
registries = ["npm"]
memory = 65536
cpus = 64.0
pids = 65536
tmp = 65536

[models.opencode]
name = "usual"
url = "https://usual.example/v1"
"""
URL, KEY = "https://model.example/v1", "env:KEY"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    return load(file, {"HOME": str(tmp_path)})


def led_by(config: Config, folder: Path, **changes: Any) -> Subagent:
    own = {"agent": "opencode", "model": "own", "model_url": URL, "model_key": KEY} | changes
    given = spawn_input(
        config, ident="bg-sandbox", caller="editor", request=SpawnRequest(workspace=folder, task="x", **own)
    )
    events, _ = decide(None, given, 0)
    return reduce(evolve, events[1:], evolve(None, events[0]))


def asked(folder: Path, **changes: Any) -> SpawnRequest:
    return replace(SpawnRequest(agent="", workspace=folder, task="look", cwd="", keep=True), **changes)


def test_what_it_does_not_name_is_what_it_has_itself(config: Config, tmp_path: Path) -> None:
    given = confined(config, "editor", asked(tmp_path), led_by(config, tmp_path, image="own:1"))
    own = (given.agent, given.model, given.model_url, given.model_key, given.image, given.preset)
    assert own == ("opencode", "own", URL, KEY, "own:1", "restricted")
    other = confined(config, "editor", asked(tmp_path, agent="other"), led_by(config, tmp_path, image="own:1"))
    assert (other.model_url, other.model_key, other.image) == (URL, KEY, None)


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"workspace": Path("/")}, "invalid"),
        ({"workspace": Path("..")}, "invalid"),
        ({"model_url": "https://elsewhere.example"}, "override_refused"),
        ({"model_key": "env:OTHER"}, "override_refused"),
        ({"image": "other:1"}, "override_refused"),
        ({"one_shot": True}, "override_refused"),
        ({"preset": "privileged"}, "beyond_ceiling"),
        ({"preset": "friendly"}, "beyond_ceiling"),
        ({"preset": "reaching"}, "beyond_ceiling"),
        ({"preset": "nobodys"}, "unknown_preset"),
        ({"permissions": Permissions.ALLOW}, "beyond_ceiling"),
        ({"memory": 4096}, "beyond_ceiling"),
        ({"egress": ("example.org:443",)}, "beyond_ceiling"),
        ({"registries": ("npm",)}, "beyond_ceiling"),
    ],
)
def test_what_it_does_not_have_itself_is_refused(
    config: Config, tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    leader = led_by(config, tmp_path)
    with pytest.raises(Rejected) as refused:
        confined(config, "editor", asked(tmp_path, **changes), leader)
    assert refused.value.kind == kind


@pytest.mark.requirement("T26")
def test_without_a_models_address_it_gives_no_other_kind_the_users(config: Config, tmp_path: Path) -> None:
    leader = led_by(config, tmp_path, agent="bare", model=None, model_url=None, model_key=None)
    assert confined(config, "editor", asked(tmp_path), leader).agent == "bare"
    with pytest.raises(Rejected, match="agent_kind can be 'bare' only"):
        confined(config, "editor", asked(tmp_path, agent="opencode", model="m"), leader)
