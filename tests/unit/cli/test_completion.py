"""What completion offers as values that the command line itself does not list."""

from pathlib import Path

import pytest

from acp_runtime.cli.completion import complete
from acp_runtime.hooks.settings import SETTINGS
from acp_runtime.mcp.clients import CLIENTS
from acp_runtime.session.catalogue import builtin_kinds

KINDS = {*builtin_kinds(), "mine"}


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[agents.mine]\nargv = ["x"]\n', encoding="utf-8")
    monkeypatch.setenv("SUBAGENTS_CONFIG", str(path))
    return path


def offered(capsys: pytest.CaptureFixture[str], *words: str) -> set[str]:
    complete(words)
    return set(capsys.readouterr().out.splitlines())


@pytest.mark.requirement("D10.8")
@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("mcp", "install", "--client", ""), set(CLIENTS)),
        (("mcp", "--client", "ge"), {"gemini"}),
        (("hook", "install", "--client", ""), set(SETTINGS)),
        (("run", "--agent", ""), KINDS),
        (("spawn", "--agent", "m"), {"mine"}),
        (("acp", "--agent", ""), KINDS),
        (("logs", "--agent", "--d"), {"--daemon"}),
    ],
)
def test_completion_offers_the_clients_of_a_verb_and_the_agent_kinds_that_are_configured(
    words: tuple[str, ...], values: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(capsys, *words) == values


def test_a_configuration_with_a_mistake_offers_no_agent_kind(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[agents.mine]\nargv = 5\n", encoding="utf-8")
    assert offered(capsys, "run", "--agent", "") == set()
