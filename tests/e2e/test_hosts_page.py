"""docs/hosts.md: its loop has a model drive subagents, its module is the original's over our daemon."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.agents.scripted_model import ScriptedModel, call
from tests.e2e.daemon_site import SCRIPT, DaemonSite, daemon_site

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
BLOCK = re.compile(r"^```python\n# (?P<name>\S+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {each["name"]: each["code"] for each in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory):
    with daemon_site(tmp_path_factory.mktemp("h", numbered=True)) as site:
        argv = json.dumps([sys.executable, str(SCRIPT)])
        site.config.write_text(f"[agents.opencode]\nargv = {argv}\n", encoding="utf-8")
        (site.workspace / ".git" / "info").mkdir(exist_ok=True)
        site.serve()
        yield site


def test_the_loop_spawns_by_a_models_call_and_tells_the_end_when_it_is_idle(site: DaemonSite) -> None:
    spawn = call("spawn_background_subagent", purpose="look", initial_task="[[say:42 files]]", cwd="/workspace")
    chdir = f"import os; os.chdir({str(site.workspace)!r})\n"
    with ScriptedModel() as model:
        done = site.run(
            spawn + "[[text:I began {{1.id}}.]]", code=chdir + EXAMPLES["agent_loop.py"], MY_MODEL_URL=model.base_url
        )
        asked = [request.body.decode() for request in model.requests]
    assert (done.returncode, done.stderr) == (0, ""), site.log()
    assert re.match(r"I began bg-[0-9a-f]{10}\.\n", done.stdout)
    assert "It said" not in asked[0]
    assert 'It said: \\"42 files\\"' in asked[-1]
    assert "(Your subagents have news.)" in asked[-1]
    assert site.look("SELECT state FROM nudge") == [("committed",)]


def test_the_loop_ends_where_all_was_told_and_nobody_works(site: DaemonSite) -> None:
    spawn = call("spawn_background_subagent", purpose="look", initial_task="[[say:42 files]]", cwd="/workspace")
    waits = call("wait_background_subagents", timeout=40)
    chdir = f"import os; os.chdir({str(site.workspace)!r})\n"
    with ScriptedModel() as model:
        code = chdir + EXAMPLES["agent_loop.py"].replace(":session-1", ":session-2")
        done = site.run(f"{spawn}{waits}[[text:one]]", "[[text:two]]", code=code, MY_MODEL_URL=model.base_url)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "one\ntwo\n"), site.log()


HERMES = """
import json, os, sys
os.chdir(sys.argv[1])
manager = get_background_subagent_manager()
owner = dict(owner_session_id="session-9")
spawned = manager.spawn_subagent(purpose="look", initial_task="[[say:42 files]]", cwd="/workspace", **owner)
waiting = manager._call("session-9", "wait_background_subagents", {"timeout": 60})
mine = dict(owner, subagent_id=spawned["id"])
said = [
    spawned, manager.render_turn_context("session-9"), manager.list_subagents(**owner), manager.get_status(**mine),
    manager.poll_subagent(**mine), manager.send_message(message=" ", **mine),
    manager.get_status(owner_session_id="another", subagent_id=spawned["id"]),
    _handle_background_subagent_tool("session-9", "stop_background_subagent", {"id": spawned["id"]}),
    manager.render_turn_context("session-9"), manager.render_turn_context("another"),
    _handle_background_subagent_tool(None, "list_background_subagents", {}),
]
print(json.dumps(said))
"""


@pytest.mark.requirement("P01", "P14")
def test_the_originals_module_answers_its_callers_with_its_names_and_texts(site: DaemonSite) -> None:
    done = site.run(str(site.workspace), code=EXAMPLES["background_subagents.py"] + HERMES)
    assert (done.returncode, done.stderr) == (0, ""), site.log()
    spawned, turn, listed, status, polled, blank, foreign, stopped, after, other, nobody = json.loads(done.stdout)
    who = f"{spawned['name']} ({spawned['id']})"
    assert spawned["success"]
    assert spawned["initial_dispatch"]["success"]
    assert turn.startswith(
        f"Background subagent updates since your last turn:\n- {who} finished its latest task.\n\nOpen "
    )
    assert turn.endswith(
        f"- {who} [idle] agent=opencode cwd=/workspace unread={listed['subagents'][0]['unread_count']} purpose=look"
    )
    assert [each["id"] for each in listed["subagents"]] == [spawned["id"]]
    assert status["transport_alive"] is True
    assert "task_dispatched" in [each["kind"] for each in polled["events"]]
    assert blank == {"success": False, "error": "message is required.", "kind": "invalid"}
    assert foreign["error"] == f"Unknown background subagent: {spawned['id']}"
    assert (stopped["status"], stopped["reason"]) == ("stopped", "stopped_by_parent")
    assert (after, other) == ("", "")
    assert nobody["error"] == "Background subagents require a parent session_id."


UNREACHED = """
import json
manager = get_background_subagent_manager()
print(json.dumps([manager.render_turn_context("session-9"), manager.list_subagents(owner_session_id="session-9")]))
"""


def test_the_originals_module_breaks_no_turn_of_a_host_when_there_can_be_no_daemon(site: DaemonSite) -> None:
    empty = site.root / "rt2"
    empty.mkdir(mode=0o700)
    broken = site.root / "broken.toml"
    broken.write_text("[", encoding="utf-8")
    away = {"XDG_RUNTIME_DIR": str(empty), "SUBAGENTS_CONFIG": str(broken)}
    done = site.run(code=EXAMPLES["background_subagents.py"] + UNREACHED, **away)
    assert (done.returncode, done.stderr) == (0, "")
    turn, listed = json.loads(done.stdout)
    assert turn == ""
    assert (listed["success"], listed["kind"]) == (False, "config_error")
    assert str(broken) in listed["error"]


def test_every_example_of_the_page_is_run() -> None:
    assert set(EXAMPLES) == {"agent_loop.py", "background_subagents.py"}
