"""Questions of agents, answered from a terminal."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from acp_runtime.cli.codes import Exit
from tests.agents.forms import form
from tests.e2e.daemon_site import DaemonSite, daemon_site


def ask(site: DaemonSite, *argv: str, code: Exit = Exit.DONE) -> CompletedProcess[str]:
    done = site.run(*argv)
    assert done.returncode == code, (argv, done.stdout, done.stderr)
    return done


@pytest.mark.requirement("D10.50")
def test_a_question_is_answered_in_words_at_the_terminal(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        site.serve()
        task = form("How many?", {"properties": {"n": {"type": "integer"}}})
        given = ("--agent", "scripted", "--workspace", str(site.workspace), "-q", "--parent", "host")
        subagent = ask(site, "spawn", *given, task).stdout.strip()
        ask(site, "wait", subagent, code=Exit.NEEDS_ANSWER)
        assert f"subagents answer {subagent} --text '...'  (a whole number)" in ask(site, "show", subagent).stdout
        assert "n takes a whole number" in ask(site, "answer", subagent, "--text", "many", code=Exit.FAILED).stderr
        ask(site, "answer", subagent, "--text", "3")
        ask(site, "wait", subagent)
        assert '{"n": 3}' in ask(site, "logs", subagent).stdout
        ask(site, "stop", subagent)
