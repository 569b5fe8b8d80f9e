"""How the daemon and what is below its subagents stand, as a person asks."""

import json
from pathlib import Path

import pytest

from acp_runtime import __version__
from tests.e2e.daemon_site import daemon_site
from tests.e2e.test_reached import ask


def test_the_status_names_the_address_of_mcp_and_where_its_token_is(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        with site.config.open("a", encoding="utf-8") as file:
            file.write("[daemon]\nhttp = 0\n")
        site.serve()
        while len(lines := ask(site, "status").stdout.splitlines()) == 2:  # until it listens
            pass
        found = json.loads(ask(site, "status", "--json").stdout)["daemon"]["mcp"]
        assert lines[1] == f"mcp      {found['url']}, the token is in {site.state / 'http-token'}"


@pytest.mark.requirement("D09.38")
def test_the_status_names_the_daemon_and_its_gateway(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        pid = site.serve()
        words = ("spawn", "--agent", "scripted", "--workspace", str(site.workspace), "-q", "[[say:hello]]")
        subagent = ask(site, *words).stdout.strip()
        daemon, gateway = ask(site, "status").stdout.splitlines()
        assert daemon == f"daemon   process {pid}, version {__version__}, agents by local"
        assert gateway == "gateway  none runs; the first agent that has a model or a proxy starts it"
        found = json.loads(ask(site, "status", "--json").stdout)
        assert (found["daemon"]["pid"], found["gateway"], found["unhealthy"], found["unknown"]) == (pid, None, [], "")
        assert "gateway" not in ask(site, "status", "--parent", "p").stdout
        assert json.loads(ask(site, "show", subagent, "--json").stdout)["unhealthy"] == ""
