"""How the tools of an editor's session are told where their daemon and its engine are."""

import pytest

from acp_runtime.acp_proxy.identity import HostTools
from acp_runtime.mcp.clients import CLIENTS

NAMES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "XDG_RUNTIME_DIR")


def test_a_daemon_that_the_tools_start_finds_the_engine_that_its_user_named() -> None:
    told = HostTools(dict.fromkeys((*NAMES, "HOME", "MY_KEY"), "x")).server("zed:s /w", "/w")
    assert {each["name"] for each in told["env"]} == {*NAMES, "HOME"}


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_passes_on_only_what_it_is_told_is_told_the_same(name: str) -> None:
    assert name in CLIENTS["codex"].server(("subagents",))["env_vars"]
