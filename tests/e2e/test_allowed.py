"""What is allowed for good, as `subagents allowed` lists, adds and takes it back."""

import json
from pathlib import Path

from acp_runtime.cli.codes import Exit
from tests.e2e.daemon_site import daemon_site
from tests.e2e.test_reached import ask


def test_what_is_allowed_for_good_is_listed_added_and_taken_back_by_the_operator_alone(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        site.serve()
        assert ask(site, "allowed").stderr == "nothing is allowed for good\n"
        for preset in ("friendly", "restricted"):
            ask(site, "allowed", "--add", "API.example.org", "--preset", preset)
        rule = "api.example.org:443"
        both = [{"preset": preset, "rule": rule} for preset in ("friendly", "restricted")]
        assert [json.loads(line) for line in ask(site, "allowed", "--json").stdout.splitlines()] == both
        assert site.store.with_suffix(".egress").read_text() == f"friendly {rule}\nrestricted {rule}\n"
        ask(site, "allowed", "--revoke", "api.example.org", "--preset", "friendly")
        assert ask(site, "allowed").stdout.split() == ["PRESET", "RULE", "restricted", rule]
        for code, *wrong in (
            (Exit.FAILED, "--revoke", "api.example.org:80"),
            (Exit.FAILED, "--revoke", "api.example.org", "--preset", "friendly"),
            (Exit.FAILED, "--parent", "p"),
            (Exit.FAILED, "--parent", "p", "--add", "b.example.org", "--preset", "friendly"),
            (Exit.USAGE, "--revoke", "*"),
            (Exit.USAGE, "--add", "b.example.org"),
            (Exit.USAGE, "--add", "b.example.org", "--preset", "none"),
            (Exit.USAGE, "--preset", "friendly"),
            (Exit.USAGE, "--add", "b.example.org", "--revoke", "b.example.org", "--preset", "friendly"),
        ):
            ask(site, "allowed", *wrong, code=code)
        refused = ask(site, "allowed", "--revoke", "api.example.org:80", code=Exit.FAILED).stderr
        assert f"what is: {rule} (restricted)" in refused
        assert ask(site, "allowed", "-q", "--revoke", rule).stderr == ""
        assert ask(site, "allowed", "--json").stdout == ""
