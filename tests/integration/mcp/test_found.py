"""The doctor looks at the clients whose configuration starts us."""

import json
import os
from pathlib import Path

import pytest

from acp_runtime.cli.clients_found import about_clients
from acp_runtime.cli.finding import Mark
from acp_runtime.cli.main import main

pytestmark = [pytest.mark.requirement("D10.11"), pytest.mark.usefixtures("home")]
OLD = {"type": "command", "command": "'/old place/bin/subagents' hook stop --client claude"}


def install(*words: str) -> None:
    assert main([words[0], "install", "--client", *words[1:]]) == 0


def found(tmp_path: Path) -> list[tuple[Mark, str, str]]:
    return [(each.mark, each.what, each.sentence) for each in about_clients(os.environ, tmp_path / "project")]


def test_nothing_is_said_of_clients_that_do_not_start_us(tmp_path: Path, home: Path) -> None:
    home.mkdir()
    (home / ".claude.json").write_text('{"mcpServers": {"another": {"command": "/nowhere"}}}')
    assert found(tmp_path) == []


def test_what_is_installed_whole_is_right_wherever_it_stands(tmp_path: Path) -> None:
    install("hook", "claude", "--parent", "a b")
    install("mcp", "claude", "--parent", "a b", "--project", "--workspace", str(tmp_path / "project"))
    install("mcp", "opencode")
    assert found(tmp_path) == [
        (Mark.GOOD, "claude", "starts the MCP server, and has its hooks"),
        (Mark.GOOD, "opencode", "starts the MCP server"),
    ]


def test_hooks_without_a_server_and_with_another_parent_are_named(tmp_path: Path) -> None:
    install("hook", "codex", "--parent", "mine")
    ((mark, _, said),) = found(tmp_path)
    assert (mark, said) == (Mark.WARN, "has our hooks and no MCP server; run `subagents mcp install --client codex`")
    install("mcp", "codex")
    ((mark, _, said),) = found(tmp_path)
    assert (mark, said.partition(";")[0]) == (Mark.WARN, "names different parents: 'mine' and a session's own")


def test_a_command_that_is_no_more_is_named_with_how_to_install_it_anew(tmp_path: Path, home: Path) -> None:
    install("mcp", "claude")
    (home / ".claude").mkdir()
    (home / ".claude" / "settings.json").write_text(json.dumps({"hooks": {"Stop": [{"hooks": [OLD]}]}}))
    said = "starts /old place/bin/subagents, which is no program; run `subagents hook install --client claude`"
    assert found(tmp_path) == [(Mark.WARN, "claude", said)]


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"subagents": {"type": "http", "url": "http://127.0.0.1:1/mcp"}}}',
        '{"mcpServers": {"subagents": {"command": 7, "args": {}}}}',
        '{"mcpServers": ',
    ],
)
def test_whatever_stands_there_the_doctor_goes_on(tmp_path: Path, home: Path, text: str) -> None:
    home.mkdir()
    (home / ".claude.json").write_text(text)
    ((mark, what, _),) = found(tmp_path)
    assert (mark, what) == (Mark.GOOD if "url" in text else Mark.WARN, "claude")
