"""Real hosts as parents: set up by `hook install` and `mcp install`, on this machine, with a scripted model behind."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from acp_runtime.core.legacy_text import WORKSPACE
from tests.agents.scripted_model import ScriptedModel, call
from tests.docker.client_programs import agents_volume, copied
from tests.e2e.daemon_site import DaemonSite, daemon_site

pytestmark = [
    pytest.mark.docker,
    pytest.mark.real_agent,
    pytest.mark.timeout(300),
    pytest.mark.requirement("D10.62"),
]
SECONDS = 120
# A directive for the scripted agent within one for the scripted model.
BELOW = "[\\u005bsay:hello from below]\\u005d"


@dataclass(frozen=True)
class Host:
    """How a host is had, and how it is run: once for a prompt, and once more in the same session."""

    paths: tuple[str, ...]
    argv: tuple[str, ...]
    again: tuple[str, ...]
    settings: Callable[[Path, str], None]
    env: Callable[[str], dict[str, str]]


def _claudes(home: Path, _: str) -> None:
    (home / ".claude").mkdir()
    allow = {"permissions": {"allow": ["Bash", "mcp__subagents"]}}
    (home / ".claude" / "settings.json").write_text(json.dumps(allow))


def _codexs(home: Path, url: str) -> None:
    codex = f'model = "m"\nmodel_provider = "m"\n\n[model_providers.m]\nname = "m"\nbase_url = "{url}"\n'
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(codex + 'wire_api = "responses"\nenv_key = "MODEL_KEY"\n')


def _geminis(home: Path, _: str) -> None:
    (home / ".gemini").mkdir()
    auth = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(auth))


CODEX = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust")
HOSTS = {
    "claude": Host(
        ("claude/bin/claude",),
        ("-p",),
        ("-p", "--continue"),
        _claudes,
        lambda url: {
            "ANTHROPIC_BASE_URL": url.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": "stand-in",
            "ANTHROPIC_MODEL": "m",
            "ANTHROPIC_SMALL_FAST_MODEL": "m",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # Else the model has to look for a server's tools before it can call them.
            "ENABLE_TOOL_SEARCH": "false",
        },
    ),
    "codex": Host(
        ("codex/bin/codex",),
        ("exec", *CODEX, "-"),
        ("exec", "resume", "--last", *CODEX, "-"),
        _codexs,
        lambda _: {"MODEL_KEY": "stand-in"},
    ),
    "gemini": Host(
        ("node/bin/node", "gemini"),
        ("gemini/bundle/gemini.js", "--yolo", "--skip-trust", "-p", ""),
        ("gemini/bundle/gemini.js", "--yolo", "--skip-trust", "--resume", "latest", "-p", ""),
        _geminis,
        lambda url: {
            "GOOGLE_GEMINI_BASE_URL": url.removesuffix("/v1"),
            "GEMINI_API_KEY": "stand-in",
            "GEMINI_MODEL": "gemini-2.5-pro",
        },
    ),
}


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("e", numbered=True)) as site:
        site.serve()
        yield site


class Parent:
    """One host that was set up, and its one session."""

    def __init__(self, site: DaemonSite, model: ScriptedModel, client: str, programs: Path) -> None:
        self._site, self._model, self._host, self._programs = site, model, HOSTS[client], programs
        self._host.settings(Path(site.env["HOME"]), model.base_url)
        for words in (("mcp", "install"), ("hook", "install", "--within", "20000")):
            done = site.run(*words, "--client", client)
            assert done.returncode == 0, done.stderr
        volume = agents_volume()
        first, *_ = [copied(volume, path, programs) for path in self._host.paths]
        self._program = str(first)

    def prompt(self, script: str, *, again: bool = False) -> str:
        """Give the host one prompt; return what it put out."""
        argv = [self._program, *(self._host.again if again else self._host.argv)]
        argv = [str(self._programs / word) if word.startswith("gemini/") else word for word in argv]
        env = self._site.env | self._host.env(self._model.base_url)
        done = subprocess.run(
            argv, check=False, env=env, cwd=self._site.workspace, input=script, capture_output=True, text=True,
            timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout


def newest(body: bytes) -> str:
    """Return the prompt of a request, with what its host put beside it."""
    given = json.loads(body)
    items = given.get("messages") or given.get("input") or given.get("contents")
    return json.dumps(items[-2:])


def told_below(site: DaemonSite, go: Path) -> None:
    """Have the host's model stop once what it spawned has something to tell."""
    for _ in range(SECONDS * 10):
        if site.store.exists() and site.look("SELECT 1 FROM nudge"):
            break
        threading.Event().wait(0.1)
    go.touch()


@pytest.mark.parametrize(
    "client", ["claude", pytest.param("codex", marks=pytest.mark.long), pytest.param("gemini", marks=pytest.mark.long)]
)
def test_a_real_host_is_told_by_its_hooks_what_its_own_tools_began(
    site: DaemonSite, model: ScriptedModel, client: str, tmp_path: Path
) -> None:
    parent = Parent(site, model, client, tmp_path)
    go = tmp_path / "go"
    waiting = threading.Thread(target=told_below, args=(site, go))
    waiting.start()
    spawn = {"purpose": "a test", "cwd": WORKSPACE, "agent_kind": "scripted", "initial_task": "TASK"}
    script = call("spawn_background_subagent", **spawn).replace("TASK", BELOW)
    parent.prompt(f"[[shell:sleep 5]]{script}[[shell:until test -e {go}; do sleep 0.1; done]][[text:I stop.]]")
    waiting.join()
    assert b'It said: \\"hello from below' in model.requests[-1].body, "the model did not stop before it heard"
    assert site.look("SELECT state FROM nudge") == [("committed",)]

    ((subagent, owner),) = site.look("SELECT id, parent FROM subagent")
    assert ":mcp-" not in owner, "the session's, and not the server's alone"
    assert owner.startswith(f"{client}:")
    assert owner.endswith(f" {site.workspace}")

    seen = len(model.requests)
    said = parent.prompt("[[shell:sleep 5]]" + call("list_background_subagents") + "[[text:{{2}}]]", again=True)
    assert f"({subagent}) [idle]" in newest(model.requests[seen].body), "the roster, with the prompt"
    assert subagent in said, "the next server of the session is the same parent"
