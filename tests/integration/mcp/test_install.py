"""`subagents mcp install` and `uninstall`: what becomes of the files of each client."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.main import main
from acp_runtime.mcp.clients import CLIENTS

pytestmark = [pytest.mark.requirement("D10.45"), pytest.mark.usefixtures("home")]

FILES = {
    "claude": (".claude.json", ".mcp.json"),
    "codex": (".codex/config.toml", ".codex/config.toml"),
    "opencode": (".config/opencode/opencode.json", "opencode.json"),
    "gemini": (".gemini/settings.json", ".gemini/settings.json"),
    "zed": (".config/zed/settings.json", ".zed/settings.json"),
    "cursor": (".cursor/mcp.json", ".cursor/mcp.json"),
}
KEPT = {
    "json": b'{\n  // my words\n  "theme": "dark", /* and more */\n  "unknown": {"x": [1, 2,],},\n}\n',
    "toml": b'# my words\ntheme = "dark" # and more\n\n[unknown]\nx = [1, 2]\n',
}


def run(what: str, client: str, *more: str) -> Exit:
    return Exit(main(["mcp", what, "--client", client, *more]))


def server(client: str, path: Path) -> dict[str, Any]:
    """Return our entry as the client would read it, of a file without comments."""
    values = tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_text())
    found: dict[str, Any] = values[CLIENTS[client].key]["subagents"]
    return found


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_without_a_configuration_gets_one_and_loses_it_again(home: Path, client: str) -> None:
    path = home / FILES[client][0]
    assert run("install", client) == Exit.DONE
    entry = server(client, path)
    command = entry["command"] if isinstance(entry["command"], list) else [entry["command"], *entry["args"]]
    assert os.access(command[0], os.X_OK)
    assert command[command.index("mcp") :][:3] == ["mcp", "--client", client]
    assert path.stat().st_mode & 0o777 == 0o600
    assert run("uninstall", client) == Exit.DONE
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("place", ["user", "project"])
def test_what_a_client_was_configured_with_stays_byte_for_byte(
    home: Path, tmp_path: Path, client: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--project", "--workspace", str(tmp_path / "project")) if place == "project" else ()
    path = (home if place == "user" else tmp_path / "project") / FILES[client][place == "project"]
    before = KEPT[CLIENTS[client].form]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before)
    path.chmod(0o640)

    assert run("install", client, "--dry-run", *more) == Exit.DONE
    said = capfd.readouterr()
    assert "+" in said.out
    assert "is not changed" in said.err
    assert path.read_bytes() == before

    assert run("install", client, *more) == Exit.DONE
    assert capfd.readouterr().out == said.out, "what was shown is what is done"
    once = path.read_bytes()
    assert b"my words" in once
    assert path.with_name(path.name + ".before-subagents").read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640

    assert run("install", client, *more) == Exit.DONE
    assert "nothing to do" in capfd.readouterr().err
    assert path.read_bytes() == once

    assert run("uninstall", client, *more) == Exit.DONE
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert run("uninstall", client, *more) == Exit.DONE


@pytest.mark.parametrize("client", ["claude", "codex"])
def test_what_its_user_changed_since_is_kept_when_the_server_goes(home: Path, client: str) -> None:
    path = home / FILES[client][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(KEPT[CLIENTS[client].form])
    run("install", client)
    path.write_bytes(path.read_bytes().replace(b'"dark"', b'"light"'))
    assert run("uninstall", client) == Exit.DONE
    left = path.read_bytes()
    assert b'"light"' in left
    assert b"my words" in left
    assert b'"command"' not in left
    assert b"command" not in left


def test_another_choice_of_tools_replaces_the_entry_and_not_the_copy_of_what_was_before(home: Path) -> None:
    path = home / ".claude.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(KEPT["json"])
    run("install", "claude")
    assert run("install", "claude", "--tools", "background,async_delegation") == Exit.DONE
    assert b"background,async_delegation" in path.read_bytes()
    run("uninstall", "claude")
    assert path.read_bytes() == KEPT["json"]


OWN = {"json": b'{"%s": {"subagents": {"url": "http://127.0.0.1:8737/mcp"}}}', "toml": b'[%s.subagents]\nurl = "x"\n'}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_of_that_name_that_its_user_wrote_comes_back(
    home: Path, client: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = home / FILES[client][0]
    before = OWN[CLIENTS[client].form] % CLIENTS[client].key.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before)
    assert run("uninstall", client) == Exit.DONE
    assert path.read_bytes() == before, "it is not ours"
    for tools in ("background", "background,async_delegation"):
        assert run("install", client, "--tools", tools) == Exit.DONE
        assert "command" in server(client, path)
        assert f"kept in {path}.before-subagents" in capfd.readouterr().err
    assert run("uninstall", client) == Exit.DONE
    assert path.read_bytes() == before


def test_a_file_behind_a_link_is_changed_where_it_stands(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    home.mkdir()
    (home / ".claude.json").symlink_to(real)
    run("install", "claude")
    assert (home / ".claude.json").is_symlink()
    assert "subagents" in real.read_text()


@pytest.mark.parametrize(
    ("client", "text", "said"),
    [
        ("claude", b'{"a": ', "line 1 is no JSON"),
        ("claude", b'{"mcpServers": []}', "mcpServers (line 1) is no object"),
        ("claude", b"\xff\xfe", "it is no UTF-8"),
        ("codex", b"= 1", "it is no TOML"),
        ("codex", b'mcp_servers.subagents = {command = "x"}', "cannot be changed safely"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_as_it_is(
    home: Path, client: str, text: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = home / FILES[client][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    assert run("install", client) == Exit.FAILED
    told = capfd.readouterr()
    assert said in told.err
    assert str(path) in told.err
    assert told.out == ""
    assert path.read_bytes() == text
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_client_that_is_not_known_is_told_those_that_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("install", "emacs") == Exit.USAGE
    assert "known for: claude, codex, opencode, gemini, zed, cursor" in capfd.readouterr().err
