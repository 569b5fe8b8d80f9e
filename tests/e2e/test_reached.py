"""What sandboxes reached, as `subagents reached` tells it."""

import json
from pathlib import Path
from subprocess import CompletedProcess

from acp_runtime.cli.codes import Exit
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.place import folder_beside
from tests.e2e.daemon_site import DaemonSite, daemon_site


def ask(site: DaemonSite, *argv: str, code: Exit = Exit.DONE) -> CompletedProcess[str]:
    done = site.run(*argv)
    assert done.returncode == code, (argv, done.stdout, done.stderr)
    return done


def test_what_sandboxes_reached_is_told_by_host_and_by_refusal(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        site.serve()
        task = "[[say:hello]]"
        idle = ask(site, "spawn", "--agent", "scripted", "--workspace", str(site.workspace), "-q", task).stdout.strip()
        assert ask(site, "reached", "--all").stderr == "nothing was reached, and nothing refused\n"
        folder = folder_beside(site.store)
        folder.mkdir(exist_ok=True)
        one = {"at": "2026-11-22T01:02:03.004+00:00", "subagent": idle, "attempt": 1, "way": "tunnel", "port": 443}
        ledger = Ledger(folder)
        ledger.append(
            {**one, "host": "a.example.org", "method": "CONNECT", "end": "answered", "rule": "*.example.org:443"}
        )
        refused = {"end": "refused", "code": "egress_denied", "why": "evil.net:443 is not among \x1b[31m what"}
        ledger.append({**one, "host": "evil.net", "method": "CONNECT", **refused})
        ledger.close()
        told = ask(site, "reached", idle).stdout
        assert "2026-11-22 01:02:03" in told
        assert "CONNECT by *.example.org:443" in told
        assert "REFUSED (egress_denied): CONNECT: evil.net:443 is not among" in told
        assert "\x1b" not in told
        lines = ask(site, "reached", "--all", "--refused", "--json").stdout.splitlines()
        assert [json.loads(line)["host"] for line in lines] == ["evil.net"]
        assert "evil.net" not in ask(site, "reached", "--all", "--host", "Example.org").stdout
        for wrong in (["reached"], ["reached", idle, "--all"], ["reached", "--all", "--limit", "0"]):
            ask(site, *wrong, code=Exit.USAGE)
        ask(site, "wait", idle)
        ask(site, "stop", idle)
