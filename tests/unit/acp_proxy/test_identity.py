"""How the tools of an editor's session are told where their daemon and its engine are, and who it is as a parent."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from acp_runtime.acp_proxy.daemon import Daemon
from acp_runtime.acp_proxy.identity import HostTools, parent_of
from acp_runtime.mcp.clients import CLIENTS
from acp_runtime.places import runtime_dir

NAMES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "XDG_RUNTIME_DIR")


def test_a_daemon_that_the_tools_start_finds_the_engine_that_its_user_named() -> None:
    told = HostTools(dict.fromkeys((*NAMES, "HOME", "MY_KEY"), "x")).server("zed:s /w", "/w")
    assert {each["name"] for each in told["env"]} == {*NAMES, "HOME"}


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_passes_on_only_what_it_is_told_is_told_the_same(name: str) -> None:
    assert name in CLIENTS["codex"].server(("subagents",))["env_vars"]


@pytest.mark.parametrize("folder", ["/x\0y", "/" + "x" * 300, "y/" * 3_000, "/\ud800", ""])
def test_a_session_in_what_no_folder_can_be_called_is_a_parent_all_the_same(folder: str) -> None:
    """Whether it can be opened is its agent's to say."""
    assert parent_of("zed", folder, "s1").startswith("zed:s1 ")


def as_nobody(work: Callable[[], bool]) -> bool:
    """Return what comes of it where files are looked at as a user who owns none; its thread alone is that user."""

    def run() -> bool:
        ctypes.CDLL(None).setfsuid(65_534)
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_a_daemon_in_a_folder_that_may_not_be_entered_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    daemon = Daemon()
    tmp_path.chmod(0)
    try:
        assert not as_nobody(lambda: daemon.there)
    finally:
        tmp_path.chmod(0o700)


def test_a_runtime_folder_that_cannot_be_looked_at_is_none() -> None:
    assert runtime_dir({"XDG_RUNTIME_DIR": "/" + "x" * 300}) == runtime_dir({})
