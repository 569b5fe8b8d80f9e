"""Editors at the real command: `subagents acp -- AGENT`, with a scripted agent behind it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import acp_runtime.cli.main
from tests.agents.raw_client import RawClient
from tests.e2e.daemon_site import DaemonSite, daemon_site
from tests.integration.acp_proxy.desk import Desk

AGENTS = Path(__file__).parents[2] / "agents"
COMMAND = Path(acp_runtime.cli.main.__file__)
PATIENT = AGENTS / "patient_command.py"

Start = Callable[..., RawClient]
Sit = Callable[..., Desk]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start editors, each with a proxy and its agent; they are ended after the test."""
    editors: list[RawClient] = []

    def starter(
        *argv: str,
        agent: str = "scripted_agent.py",
        command: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        program: Path = COMMAND,
        **env: str,
    ) -> RawClient:
        behind = command or (sys.executable, str(AGENTS / agent), *argv)
        own = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
        editors.append(RawClient(tmp_path, program, "acp", *options, "--", *behind, **(env or own)))
        return editors[-1]

    yield starter
    for editor in editors:
        editor.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        (site.workspace / ".git" / "info").mkdir(exist_ok=True)
        tooled = json.dumps([sys.executable, str(AGENTS / "tooled_agent.py")])
        more = f"\n[agents.tooled]\nargv = {tooled}\n\n[orchestration]\nmax_spawn_depth = 2\n"
        site.config.write_text(f"{site.config.read_text()}{more}")
        site.serve()
        yield site


@pytest.fixture
def desk(site: DaemonSite, start: Start) -> Sit:
    """Sit down at an editor with an open session whose agent is a parent."""

    def sit(
        *argv: str, options: tuple[str, ...] = (), session: str = "", program: Path = PATIENT, **capabilities: Any
    ) -> Desk:
        editor = start(*argv, agent="parent_agent.py", options=options, program=program, **site.env)
        return Desk(site, editor, session, **capabilities)

    return sit
