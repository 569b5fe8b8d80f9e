"""Real clients that `mcp install` set up: opencode and Codex as parents on this machine, with the scripted model."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.legacy_text import WORKSPACE
from acp_runtime.mcp.token_file import token_at
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


def add_by_url(site: DaemonSite, client: str) -> dict[str, str]:
    """Write what docs/mcp.md says for a client that takes a URL; return the variables of its environment."""
    while "mcp" not in (hello := site.client.hello()):  # each one is a call; the test's timeout bounds it
        pass
    home, told = Path(site.env["HOME"]), hello["mcp"]
    url = f"{told['url']}?client={client}&workspace={site.workspace}"
    if client == "codex":
        server = {"url": url, "bearer_token_env_var": "SUBAGENTS_HTTP_TOKEN"}
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in server.items()]
        with (home / ".codex" / "config.toml").open("a") as file:
            file.write(f"\n[mcp_servers.subagents]\n{''.join(lines)}tool_timeout_sec = 60\n")
        return {"SUBAGENTS_HTTP_TOKEN": token_at(Path(told["token_file"]))}
    path = home / ".config" / "opencode" / "opencode.json"
    headers = {"Authorization": f"Bearer {{file:{told['token_file']}}}"}
    server = {"type": "remote", "url": url, "headers": headers, "oauth": False, "timeout": 60_000}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mcp": {"subagents": server}}))
    return {}


def ask(site: DaemonSite, model: ScriptedModel, client: str, folder: Path, **variables: str) -> str:
    """Have a client spawn an agent, collect it and look around, and return what it puts out."""
    program = copied(agents_volume(), PROGRAMS[client], folder)
    # Codex sends its first request while its servers start, and offers their tools from the second on.
    script = (
        f"[[shell:sleep 5]][[call:spawn_background_subagent|{SPAWN.replace('TASK', TASK)}]]"
        '[[call:wait_background_subagents|{"ids": ["{{2.id}}"]}]][[call:list_background_subagents|{}]][[text:{{3}}]]'
    )
    done = subprocess.run(
        [program, *ARGV[client]],
        check=False,
        env=site.env | QUIET | {"MODEL_KEY": "stand-in"} | variables,
        cwd=site.workspace,
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert '"hello from below"' in done.stdout, (done.stdout, done.stderr)
    assert "It said:" in done.stdout, "the model was told by the block, too"
    return done.stdout


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_real_client_that_was_set_up_spawns_an_agent_and_collects_it(
    site: DaemonSite, model: ScriptedModel, client: str, tmp_path: Path
) -> None:
    configure(site, model.base_url)
    installed = site.run("mcp", "install", "--client", client)
    assert installed.returncode == 0, installed.stderr
    ask(site, model, client, tmp_path)
    ((parent,),) = site.look("SELECT parent FROM subagent")
    # Codex tells the session's own id with each call, opencode none.
    assert parent.startswith("opencode:mcp-" if client == "opencode" else "codex:")
    assert parent.endswith(str(site.workspace))
    assert site.look("SELECT state FROM nudge") == [("committed",)]


@pytest.mark.long
@pytest.mark.parametrize("client", PROGRAMS)
def test_a_real_client_does_so_by_url(site: DaemonSite, model: ScriptedModel, client: str, tmp_path: Path) -> None:
    with site.config.open("a") as config:
        config.write("\n[daemon]\nhttp = 0\n")
    site.serve("--replace")
    configure(site, model.base_url)
    ask(site, model, client, tmp_path, **add_by_url(site, client))
    ((parent,),) = site.look("SELECT parent FROM subagent")
    assert parent.startswith(f"{client}:")
    assert parent.endswith(str(site.workspace))
    assert site.look("SELECT state FROM nudge") == [("committed",)]
