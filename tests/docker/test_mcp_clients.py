"""Real clients that `mcp install` set up: opencode and Codex as parents on this machine, with the scripted model."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.legacy_text import WORKSPACE
from tests.agents.scripted_model import ScriptedModel
from tests.docker.client_programs import agents_volume, copied
from tests.e2e.daemon_site import DaemonSite, daemon_site

pytestmark = [
    pytest.mark.docker,
    pytest.mark.real_agent,
    pytest.mark.timeout(300),
    pytest.mark.requirement("D10.47"),
]

PROGRAMS = {"opencode": "opencode/bin/opencode", "codex": "codex/bin/codex"}
ARGV = {
    "opencode": ("run",),
    "codex": ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-"),
}
QUIET = {f"OPENCODE_DISABLE_{each}": "1" for each in ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")}
# A directive for the scripted agent within one for the scripted model.
TASK = "[\\u005bsay:hello from below]\\u005d"
SPAWN = json.dumps({"purpose": "a test", "cwd": WORKSPACE, "agent_kind": "scripted", "initial_task": "TASK"})


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        site.serve()
        yield site


def configure(site: DaemonSite, url: str) -> None:
    """Write what the user of both clients has configured before ours is added: where their model is."""
    home = Path(site.env["HOME"])
    codex = f'model = "m"\nmodel_provider = "m"\n\n[model_providers.m]\nname = "m"\nbase_url = "{url}"\n'
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(codex + 'wire_api = "responses"\nenv_key = "MODEL_KEY"\n')
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "m",
        "options": {"baseURL": url, "apiKey": "stand-in"},
        "models": {"m": {"name": "m", "tool_call": True, "limit": {"context": 200000, "output": 8192}}},
    }
    opencode = {"model": "m/m", "small_model": "m/m", "autoupdate": False, "share": "disabled", "permission": "allow"}
    opencode |= {"agent": {"title": {"disable": True}}, "enabled_providers": ["m"], "provider": {"m": provider}}
    (home / ".config" / "opencode").mkdir(parents=True)
    (home / ".config" / "opencode" / "opencode.json").write_text(json.dumps(opencode))


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_real_client_that_was_set_up_spawns_an_agent_and_collects_it(
    site: DaemonSite, model: ScriptedModel, client: str, tmp_path: Path
) -> None:
    configure(site, model.base_url)
    installed = site.run("mcp", "install", "--client", client)
    assert installed.returncode == 0, installed.stderr
    program = copied(agents_volume(), PROGRAMS[client], tmp_path)
    # Codex sends its first request while its servers start, and offers their tools from the second on.
    script = (
        f"[[shell:sleep 5]][[call:spawn_background_subagent|{SPAWN.replace('TASK', TASK)}]]"
        '[[call:wait_background_subagents|{"ids": ["{{2.id}}"]}]][[call:list_background_subagents|{}]][[text:{{3}}]]'
    )
    done = subprocess.run(
        [program, *ARGV[client]],
        check=False,
        env=site.env | QUIET | {"MODEL_KEY": "stand-in"},
        cwd=site.workspace,
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert '"hello from below"' in done.stdout, (done.stdout, done.stderr)
    assert "It said:" in done.stdout, "the model was told by the block, too"
    ((parent,),) = site.look("SELECT parent FROM subagent")
    # Codex tells the session's own id with each call, opencode none.
    assert parent.startswith("opencode:mcp-" if client == "opencode" else "codex:")
    assert parent.endswith(str(site.workspace))
    assert site.look("SELECT state FROM nudge") == [("committed",)]
