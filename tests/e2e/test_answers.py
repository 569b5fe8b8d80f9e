"""Questions of agents, answered from a terminal."""

import json
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


@pytest.mark.requirement("D10.53")
def test_the_shape_of_a_result_is_given_in_a_file_and_a_file_that_holds_none_is_refused(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        site.serve()
        file = site.root / "shape.json"
        given = ("spawn", "--agent", "scripted", "--workspace", str(site.workspace), "-q", "--result-schema", str(file))
        for text, words in [
            (None, "cannot be read as JSON: No such file"),
            (b"{", "cannot be read as JSON: Expecting"),
            (b"\xff{}", "cannot be read as JSON: "),
            (b"[" * 200_000, "cannot be read as JSON: maximum recursion"),
            (b"[1]", "is no JSON object of at most 262144 bytes"),
            (b" " * 262_143 + b"{}", "is no JSON object of at most 262144 bytes"),
            (b'{"type": "colour"}', "result_schema is no JSON schema: 'colour'"),
        ]:
            if text is not None:
                file.write_bytes(text)
            assert words in ask(site, *given, "x", code=Exit.USAGE).stderr
        file.write_text(json.dumps({"type": "object", "required": ["count"]}))
        subagent = ask(site, *given, "Count.").stdout.strip()
        ask(site, "wait", subagent)
        assert 'Its shape:\n{"type": "object", "required": ["count"]}\n\nCount.' in ask(site, "logs", subagent).stdout
        ask(site, "stop", subagent)
