"""`subagents hook install` and `uninstall`: what becomes of the settings of each host."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.main import main
from acp_runtime.hooks.hosts import HOSTS

pytestmark = [pytest.mark.requirement("D10.61"), pytest.mark.usefixtures("home")]

FILES = {
    "claude": (".claude/settings.json", ".claude/settings.local.json"),
    "codex": (".codex/hooks.json", ".codex/hooks.json"),
    "gemini": (".gemini/settings.json", ".gemini/settings.json"),
}
THEIRS = {"type": "command", "command": "my-own hook stop"}


def kept(client: str) -> bytes:
    """Settings as their user keeps them, with a hook of their own in one of our lists, and in one that is none."""
    event = HOSTS[client].names["stop"]
    text = f"""{{
  "theme": "dark",
  "hooks": {{
    "{event}": [{{"matcher": "*", "hooks": [{json.dumps(THEIRS)}]}}],
    "PreToolUse": [],
    "enabled": true
  }}
}}
"""
    # Gemini's settings may have comments; those of the others may not.
    return (text.replace("{\n", "{\n  // my words\n", 1) if client == "gemini" else text).encode()


def run(what: str, client: str, *more: str, verb: str = "hook") -> Exit:
    return Exit(main([verb, what, "--client", client, *more]))


def commands(client: str, path: Path) -> dict[str, list[str]]:
    """Return our commands by our names of the events, each as the words that a shell makes of it."""
    hooks: dict[str, Any] = json.loads(path.read_text())["hooks"]
    found = {}
    for event, name in HOSTS[client].names.items():
        ((handler,),) = [group["hooks"] for group in hooks[name]]
        assert handler["type"] == "command"
        assert handler["timeout"] == (5_000 if client == "gemini" else 5)
        found[str(event)] = shlex.split(handler["command"])
    return found


@pytest.mark.parametrize("client", HOSTS)
def test_a_host_without_settings_gets_them_and_loses_them_again(home: Path, client: str) -> None:
    path = home / FILES[client][0]
    assert run("install", client) == Exit.DONE
    for event, words in commands(client, path).items():
        assert os.access(words[0], os.X_OK)
        assert words[words.index("hook") :] == ["hook", event, "--client", client]
    assert run("uninstall", client) == Exit.DONE
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("client", HOSTS)
@pytest.mark.parametrize("place", ["user", "project"])
def test_the_hooks_of_a_user_stay_byte_for_byte(
    home: Path, tmp_path: Path, client: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--project", "--workspace", str(tmp_path / "project")) if place == "project" else ()
    path = (home if place == "user" else tmp_path / "project") / FILES[client][place == "project"]
    before = kept(client)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before)

    assert run("install", client, "--dry-run", *more) == Exit.DONE
    said = capfd.readouterr()
    assert "is not changed" in said.err
    assert path.read_bytes() == before

    assert run("install", client, *more) == Exit.DONE
    done = capfd.readouterr()
    assert done.out == said.out, "what was shown is what is done"
    assert ("/hooks" in done.err) == (client == "codex")
    once = path.read_bytes()
    left = iter(once)
    assert all(letter in left for letter in before), "something was lost"
    assert path.with_name(path.name + ".before-subagents-hooks").read_bytes() == before

    assert run("install", client, *more) == Exit.DONE
    assert "nothing to do" in capfd.readouterr().err
    assert path.read_bytes() == once

    assert run("uninstall", client, *more) == Exit.DONE
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert run("uninstall", client, *more) == Exit.DONE
    assert path.read_bytes() == before


@pytest.mark.parametrize("order", [("hook", "mcp"), ("mcp", "hook")])
def test_the_hooks_and_the_server_share_a_file_and_go_one_by_one(home: Path, order: tuple[str, str]) -> None:
    path = home / FILES["gemini"][0]
    path.parent.mkdir(parents=True)
    path.write_bytes(kept("gemini"))
    for verb in ("mcp", "hook"):
        assert run("install", "gemini", "--parent", "a b", verb=verb) == Exit.DONE
    assert path.read_text().count("--parent 'a b'") == 3, "the hooks are that parent"
    assert path.read_text().count('"a b"') == 1, "and so is the server"
    for verb in order:
        assert run("uninstall", "gemini", verb=verb) == Exit.DONE
    left = path.read_text()
    assert "gemini" not in left
    assert "my words" in left
    assert json.dumps(THEIRS) in left
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_ours_in_a_group_of_its_user_goes_alone_and_what_is_empty_then_goes_with_it(home: Path) -> None:
    path = home / FILES["claude"][0]
    path.parent.mkdir(parents=True)
    ours = {"type": "command", "command": "'/old place/subagents' hook stop --client claude"}
    late = {"type": "command", "command": "python3 -P -m acp_runtime.cli.main hook session --client claude"}
    hooks = {"Stop": [{"hooks": [ours, THEIRS, ours]}, {"hooks": [THEIRS]}], "SessionStart": [{"hooks": [late]}]}
    path.write_text(json.dumps({"hooks": hooks}))
    assert run("uninstall", "claude") == Exit.DONE
    assert json.loads(path.read_text()) == {"hooks": {"Stop": [{"hooks": [THEIRS]}, {"hooks": [THEIRS]}]}}
    path.write_text(json.dumps({"hooks": {"SessionStart": [{"hooks": [late]}]}, "theme": "dark"}))
    assert run("uninstall", "claude") == Exit.DONE
    assert json.loads(path.read_text()) == {"theme": "dark"}


def test_hooks_of_another_installation_are_replaced_and_not_doubled(home: Path) -> None:
    path = home / FILES["claude"][0]
    path.parent.mkdir(parents=True)
    old = {"type": "command", "command": "/old/bin/subagents hook stop --client claude"}
    path.write_text(json.dumps({"hooks": {"Stop": [{"hooks": [old]}]}}))
    assert run("install", "claude") == Exit.DONE
    assert commands("claude", path)["stop"][0] != "/old/bin/subagents"
    assert "/old/" not in path.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"hooks": ', "line 1 is no JSON"),
        (b'{"hooks": []}', "hooks (line 1) is no object"),
        (b'{"hooks": {\n"Stop": {}}}', "hooks.Stop (line 2) is no list"),
        (b"[]", "the whole (line 1) is no object"),
        (b"\xff\xfe", "it is no UTF-8"),
    ],
)
def test_settings_that_cannot_be_read_are_left_as_they_are(
    home: Path, text: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = home / FILES["claude"][0]
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    assert run("install", "claude") == Exit.FAILED
    told = capfd.readouterr()
    assert said in told.err
    assert str(path) in told.err
    assert "docs/hooks.md" in told.err
    assert told.out == ""
    assert path.read_bytes() == text
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_host_without_hooks_is_told_those_that_have_some(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("install", "zed") == Exit.USAGE
    assert "known for: claude, codex, gemini" in capfd.readouterr().err


def test_installing_the_server_says_how_its_hooks_are_installed(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("install", "claude", "--parent", "a b", verb="mcp") == Exit.DONE
    assert "subagents hook install --client claude --parent 'a b'" in capfd.readouterr().err
    assert run("install", "zed", verb="mcp") == Exit.DONE
    assert "hook" not in capfd.readouterr().err
