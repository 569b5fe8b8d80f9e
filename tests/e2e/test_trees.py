"""Agents that lead other agents, as a person at the command line has them, sees them and ends them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.cli.codes import Exit
from tests.e2e.daemon_site import DaemonSite, daemon_site

TOOLED = Path(__file__).parents[1] / "agents" / "tooled_agent.py"
LEAF = {"purpose": "to look", "initial_task": "hello", "cwd": "/workspace", "agent_kind": "scripted"}


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("r", numbered=True)) as site:
        argv = json.dumps([sys.executable, str(TOOLED)])
        with site.config.open("a") as config:
            config.write(f"\n[agents.tooled]\nargv = {argv}\n\n[orchestration]\nmax_spawn_depth = 2\n")
        site.serve()
        yield site


def spawn(site: DaemonSite, task: str, *more: str) -> tuple[str, str]:
    """Return the id, and what was told beside it."""
    done = site.run("spawn", "--agent", "tooled", "--workspace", str(site.workspace), "--purpose", "p", *more, task)
    assert done.returncode == Exit.DONE, done.stderr
    return done.stdout.strip(), done.stderr


def rows(site: DaemonSite, *argv: str) -> list[list[str]]:
    done = site.run(*argv)
    assert done.returncode == Exit.DONE, done.stderr
    return [line.split() for line in done.stdout.splitlines()[1:]]


def test_a_person_who_may_have_no_more_of_them_is_told_what_to_do(site: DaemonSite) -> None:
    with site.config.open("a") as config:
        config.write("[admission]\ntotal = 1\n")
    site.serve("--replace")
    spawn(site, "hello")
    refused = site.run("spawn", "--agent", "tooled", "--workspace", str(site.workspace), "hello")
    assert refused.returncode == Exit.FAILED
    assert "Global background subagent limit reached. `subagents ps` shows who is open" in refused.stderr


@pytest.mark.requirement("O01")
@pytest.mark.requirement("O09")
def test_a_person_has_a_tree_sees_it_holds_its_growth_and_ends_it_by_the_command_line(site: DaemonSite) -> None:
    call = f"[[tool:spawn_background_subagent|{json.dumps(LEAF)}]]"
    top, told = spawn(site, call, "--role", "orchestrator")
    assert "leaf" not in told
    assert site.run("wait", top).returncode == Exit.DONE
    (first, second) = rows(site, "tree", top)
    assert (first[1:4], second[2:4]) == ([top, "1", "orchestrator"], ["2", "leaf"])
    assert [row[1:3] for row in rows(site, "usage", "--tree")] == [[top, "2"]]
    with site.config.open("a") as config:
        config.write("orchestrator_enabled = false\n")
    site.serve("--replace")
    _, told = spawn(site, "hello", "--role", "orchestrator")
    assert "so it is a leaf" in told
    assert site.run("pause").returncode == Exit.DONE
    refused = site.run("spawn", "--agent", "tooled", "--workspace", str(site.workspace), "hello")
    assert (refused.returncode, refused.stdout) == (Exit.FAILED, "")
    assert "paused" in refused.stderr
    assert site.run("pause", "--off").returncode == Exit.DONE
    assert site.run("stop", top).returncode == Exit.DONE
    assert [row[4] for row in rows(site, "tree", "--all", top)] == ["stopped", "stopped"]
