"""Clients of others, and a real agent, with the proxy between them: the TypeScript SDK's client, acpx, and opencode.

They come from npm's registry, pinned in `tests/acp_clients`; the model behind opencode is scripted, the rest is real.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest

import acp_runtime.session.catalogue
from acp_runtime.core.roster import NEWS
from tests import npm
from tests.agents.scripted_model import ScriptedModel
from tests.e2e.daemon_site import DaemonSite
from tests.integration.acp_proxy.conftest import COMMAND

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.requirement("D10.25")]

CLIENTS = Path(__file__).parents[2] / "acp_clients"
TREE = Path(__file__).parents[3]
BOUND = 240.0
TOOL = "subagents_{}_background_subagent"


@pytest.fixture(scope="module")
def installed() -> Path:
    """Install what the lock pins, once for each lock."""
    return npm.installed(CLIENTS, "acp-clients", driver="drive.mjs", program="opencode")


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(port=0) as model:
        yield model


@pytest.fixture
def opencode(installed: Path, model: ScriptedModel, site: DaemonSite) -> tuple[list[str], dict[str, str]]:
    """Return opencode behind the proxy as a command, and its environment: a home of its own and the scripted model."""
    catalogue = Path(acp_runtime.session.catalogue.__file__).with_name("catalogue.toml")
    kind = tomllib.loads(catalogue.read_text())["opencode"]
    variables = {"MODEL": "scripted", "BASE_URL": model.base_url}
    env = {name: Template(value).substitute(variables) for name, value in kind["env"].items()}
    for path, text in kind["home_files"].items():
        file = site.root / "home" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    program = installed / "node_modules" / "opencode-linux-x64-baseline" / "bin" / "opencode"
    command = [sys.executable, "-I", str(COMMAND), "acp", "--", str(program), "acp"]
    return command, {**os.environ, **site.env, **env}


def call(tool: str, **arguments: Any) -> str:
    """Have the model call one of our tools; directives in the arguments are not for the model."""
    given = json.dumps(arguments).replace("[", r"\u005b").replace("]", r"\u005d")
    return f"[[call:{TOOL.format(tool)}|{given}]]"


def test_the_typescript_client_has_opencode_spawn_a_subagent_and_sees_it(
    installed: Path, opencode: tuple[list[str], dict[str, str]], site: DaemonSite, model: ScriptedModel
) -> None:
    command, env = opencode
    task = "[[say:found it]][[failtool:look]]"
    spawn = call("spawn", purpose="to look", initial_task=task, cwd=str(site.workspace), agent_kind="scripted")
    prompts = json.dumps(
        [f"{spawn}[[text:Spawned.]]", "[[call:subagents_wait_background_subagents|{}]][[text:Read.]]", "[[text:Seen.]]"]
    )
    done = subprocess.run(
        ["node", str(installed / "drive.mjs"), str(site.workspace), prompts, *command],
        env=env, cwd=installed, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    hello = next(each["value"] for each in said if each["kind"] == "hello")
    assert "acp-subagents" in hello["_meta"]
    assert [each["value"]["stopReason"] for each in said if each["kind"] == "answer"] == ["end_turn"] * 3
    updates = [each["value"] for each in said if each["kind"] == "update"]
    announced = next(each["update"] for each in updates if each["update"]["sessionUpdate"] == "subagent_update")
    child = announced["sessionId"]
    spoken = [each["update"] for each in updates if each["sessionId"] == child]
    assert {"type": "text", "text": "found it"} in [each.get("content") for each in spoken]
    assert "look" in [each.get("title") for each in spoken]
    assert NEWS.encode() in model.requests[-1].body
    prompted = "".join(json.dumps(each["update"]) for each in updates if each["sessionId"] != child)
    assert NEWS not in prompted


def test_acpx_drives_opencode_through_the_proxy(
    installed: Path, opencode: tuple[list[str], dict[str, str]], site: DaemonSite
) -> None:
    command, env = opencode
    acpx = [str(installed / "node_modules" / ".bin" / "acpx"), "--approve-all", "--format", "text", "--timeout", "200"]
    (site.workspace / "made.txt").unlink(missing_ok=True)
    asked = ["exec", "[[write:made.txt|by opencode]][[text:All done.]]"]
    done = subprocess.run(
        [*acpx, "--cwd", str(site.workspace), "--agent", " ".join(command), *asked],
        env=env, cwd=installed, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "All done." in done.stdout
    assert (site.workspace / "made.txt").read_text().strip() == "by opencode"
