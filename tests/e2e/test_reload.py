"""A daemon reads its configuration again: by `subagents reload`, and when it is hung up on."""

import json
import os
import signal
from pathlib import Path

import pytest

from acp_runtime.cli.codes import Exit
from tests.e2e.daemon_site import DaemonSite, daemon_site
from tests.e2e.test_reached import ask

WEB = '\n[presets.web]\nextends = "friendly"\nnetwork = "egress"\negress = ["{}"]\n'


def lines_of(site: DaemonSite, subagent: str) -> list[dict[str, object]]:
    rows = ask(site, "poll", subagent, "--since", "0", "--json").stdout.splitlines()
    return [row["data"] for row in map(json.loads, rows) if row["kind"] == "egress_changed"]


def second_of(site: DaemonSite, subagent: str) -> dict[str, object]:
    for _ in range(300):
        if len(found := lines_of(site, subagent)) > 1:
            return found[1]
    raise AssertionError(site.log())


@pytest.mark.requirement("D09.34")
def test_a_daemon_reads_its_configuration_again_when_asked_and_at_a_hangup(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        plain = site.config.read_text()
        site.config.write_text(plain + WEB.format("a.example.org"))
        pid = site.serve()
        task, where = "[[say:hello]]", str(site.workspace)
        words = ("spawn", "--agent", "scripted", "--preset", "web", "--workspace", where, "-q", task)
        subagent = ask(site, *words).stdout.strip()
        ask(site, "wait", subagent)
        site.config.write_text(plain + WEB.format("b.example.org"))
        told = ask(site, "reload").stdout.splitlines()
        assert [line.partition(") ")[2] for line in told] == ["gains b.example.org:443", "loses a.example.org:443"]
        site.config.write_text(plain + "[admission]\ntotal = 7\n" + WEB.format("*"))
        refused = ask(site, "reload", code=Exit.USAGE).stderr
        assert "allows everything" in refused
        assert "Nothing was changed" in refused
        site.config.write_text(plain + "[admission]\ntotal = 7\n" + WEB.format("c.example.org"))
        os.kill(pid, signal.SIGHUP)
        assert second_of(site, subagent) == {
            "gained": ["c.example.org:443"], "lost": ["b.example.org:443"], "by": "operator"
        }  # fmt: skip
        assert json.loads(ask(site, "reload", "--json").stdout) == {"subagents": [], "restart": ["admission.total"]}
        assert "subagents serve --replace" in ask(site, "reload").stderr
        assert site.pid == pid
        ask(site, "reload", "--parent", "p", code=Exit.FAILED)
        ask(site, "stop", subagent)
