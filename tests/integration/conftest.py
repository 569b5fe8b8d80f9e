"""The relay's program: as shipped, and its source under the sanitizers."""

import platform
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import sandbox.programs
from sandbox.programs import program as program_file
from tests.contract.holder.conftest import compile_sanitized
from tests.integration.relay_process import Relay, running

RELAY_SOURCE = Path(sandbox.programs.__file__).with_name("relay.c")


@pytest.fixture(scope="session", params=["shipped", "sanitized"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "shipped":
        return program_file("relay", {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])
    return compile_sanitized(RELAY_SOURCE, tmp_path_factory.mktemp("relay") / "relay")


@pytest.fixture
async def relay(program: Path, tmp_path: Path) -> AsyncIterator[Relay]:
    async with running(program, tmp_path / "host.sock") as process:
        yield process


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's folder, which is not made yet, beside that of a project; no variable names another."""
    for name in ("CODEX_HOME", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "GEMINI_CLI_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "project").mkdir()
    return tmp_path / "home"
