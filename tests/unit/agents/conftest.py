from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agents.raw_client import RawClient

AGENTS = Path(__file__).parents[2] / "agents"


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., RawClient]]:
    """Start scripted agents; each is ended after the test."""
    clients: list[RawClient] = []

    def starter(*argv: str, **env: str) -> RawClient:
        clients.append(RawClient(tmp_path, AGENTS / "scripted_agent.py", *argv, **env))
        return clients[-1]

    yield starter
    for client in clients:
        client.close()


@pytest.fixture
def agent(start) -> RawClient:
    """A scripted agent with a session."""
    return start().open()
