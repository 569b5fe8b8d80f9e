"""Editors at the real command: `subagents acp -- AGENT`, with a scripted agent behind it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import acp_runtime.cli.main
from tests.agents.raw_client import RawClient

AGENTS = Path(__file__).parents[2] / "agents"
COMMAND = Path(acp_runtime.cli.main.__file__)

Start = Callable[..., RawClient]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start editors, each with a proxy and its agent; they are ended after the test."""
    editors: list[RawClient] = []

    def starter(
        *argv: str,
        agent: str = "scripted_agent.py",
        command: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        **env: str,
    ) -> RawClient:
        behind = command or (sys.executable, str(AGENTS / agent), *argv)
        own = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
        editors.append(RawClient(tmp_path, COMMAND, "acp", *options, "--", *behind, **(env or own)))
        return editors[-1]

    yield starter
    for editor in editors:
        editor.close()
