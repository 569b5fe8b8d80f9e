"""`[models.KIND]`: the model of an agent kind where a spawn names no address of one, as tools never do."""

from pathlib import Path

import pytest

from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.model import Order
from acp_runtime.service.order import SpawnRequest, spawn_input

OURS = """\
[models.opencode]
name = "usual"
url = "http://127.0.0.1:9/v1"
key = "env:USUAL_KEY"
"""


def loaded(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return load(file, {"HOME": str(folder), **environ})


def ordered(folder: Path, text: str, agent: str = "", **given: str) -> Order:
    request = SpawnRequest(agent=agent, workspace=folder, task="x", **given)  # type: ignore[arg-type] # all are texts
    return spawn_input(loaded(folder, text), ident="bg-1", caller="somebody", request=request).order


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("usual", "http://127.0.0.1:9/v1", "env:USUAL_KEY")),
        ({"model": "another"}, ("another", "http://127.0.0.1:9/v1", "env:USUAL_KEY")),
        ({"model_key": "env:MINE"}, ("usual", "http://127.0.0.1:9/v1", "env:MINE")),
        ({"model": "m", "model_url": "http://there/v1"}, ("m", "http://there/v1", None)),
    ],
)
def test_a_spawn_without_an_address_has_the_configured_one_and_its_key_goes_nowhere_else(
    tmp_path: Path, given: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    order = ordered(tmp_path, OURS, **given)
    assert (order.model, order.model_url, order.model_key) == expected


def test_the_model_of_one_kind_is_none_of_another_kinds(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"codex needs a model .* set them in \[models\.codex\] of the configuration"):
        ordered(tmp_path, OURS, agent="codex")
    codex = OURS.replace("opencode", "codex")
    assert ordered(tmp_path, f'default_agent = "codex"\n{codex}').model == "usual"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[models.nobody]\nurl = "http://h/v1"\n', "FILE:2: models.nobody: there is no agent kind of that name"),
        ('[models.codex]\nname = "m"\n', "FILE:1: models.codex.url: field required"),
        ('[models.codex]\nurl = "host"\n', "FILE:2: models.codex.url: The model's base URL is not of the form"),
        (
            '[models.codex]\nurl = "http://h/v1"\nkey = "sk-secret"\n',
            "FILE:2: models.codex.key: This is no source of a key",
        ),
        ('[models.codex]\nurl = "http://u:sk-secret@h/v1"\n', "FILE:2: models.codex.url: The model's base URL"),
        (
            '[agents.mine]\nargv = ["/a"]\n[models.mine]\nname = "m"\nurl = "http://h/v1"\n',
            "FILE:4: models.mine.name: this agent kind takes no model's name",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_never_with_a_key(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    told = str(caught.value).replace(f"{tmp_path / 'config.toml'}", "FILE")
    assert told.startswith(sentence)
    assert "sk-secret" not in told
