"""Two agents of one store on one engine: nothing of the one is within reach of the other."""

import asyncio
import json
import stat
from collections.abc import Iterator

import pytest

from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.views import SubagentView
from tests import engine
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, Place, mark

pytestmark = [pytest.mark.docker, pytest.mark.parametrize("place", ["docker"], indirect=True)]

NAMES = ("one", "two")
# What an agent tries: to find the other's processes, files, sockets and ports, and its own keepers' things.
LOOK = (
    "cd /; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\\\0' '\\\\n'; "
    "cat /proc/net/unix /proc/self/mountinfo; "
    "find / -xdev -name '*.sock' 2>/dev/null; ls /run/subagents /run/holder /var/lib/subagents 2>&1; "
    "cat /workspace/* /home/agent/* 2>/dev/null; env"
)
ASK = (
    "import json, os, urllib.request as u; "
    "b = json.dumps({'model': 'm', 'messages': [{'role': 'user', 'content': '[[text:hi' + chr(93) * 2}]}).encode(); "
    "q = u.Request(os.environ['BASE_URL'] + '/chat/completions', b, {'content-type': 'application/json'}); "
    "print(u.urlopen(q).status)"
)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as made:
        yield made


def secret(name: str) -> str:
    return f"secret-of-{name}-7f3a"


async def spawned(place: Place, runtime: Runtime, name: str, model: ScriptedModel) -> SubagentView:
    asked = place.request(
        f"[[write:file-of-{name}|{secret(name)}]][[run:echo {secret(name)} > ~/home-of-{name}]]",
        model_url=model.base_url,
        model_key=f"env:KEY_OF_{name.upper()}",
    )
    view = await runtime.spawn(PARENT, asked)
    return await place.ended(runtime, view.id)


async def said(place: Place, runtime: Runtime, view: SubagentView, command: str) -> str:
    """Have the agent run a command and return what it put out."""
    await runtime.send(PARENT, view.id, f"[[run:{command}]][[say:done]]")
    assert (await place.ended(runtime, view.id)).newest.result == "done"
    told = await runtime.transcript(PARENT, view.id)
    return str([entry.data.get("detail") for entry in told.entries if entry.kind.startswith("tool_call")][-1])


@pytest.mark.requirement("T6")
async def test_an_agent_reaches_nothing_of_another_one(
    place: Place, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = place.config.catalogue.kinds["scripted"]
    place.add_kind(AgentKind("scripted", scripted.argv, {"BASE_URL": "$BASE_URL"}))
    for name in NAMES:
        monkeypatch.setenv(f"KEY_OF_{name.upper()}", f"key-of-{name}")
    async with place.runtime() as runtime:
        views = {name: await spawned(place, runtime, name, model) for name in NAMES}
        for name, other in (NAMES, NAMES[::-1]):
            seen = await said(
                place,
                runtime,
                views[name],
                f"({LOOK}) | grep -ao 'secret-of-[a-z]\\+\\|bg-[0-9a-f]*\\|key-of-[a-z]\\+' | sort -u",
            )
            assert f"secret-of-{name}" in seen, "the control: what is its own it sees"
            assert f"secret-of-{other}" not in seen
            assert views[other].id not in seen
            assert "key-of" not in seen
            asked = len(model.requests)
            assert "200" in await said(place, runtime, views[name], f'python3 -c "{ASK}"')
            assert [each.headers["authorization"] for each in model.requests[asked:]] == [f"Bearer key-of-{name}"]
        mounted = await asyncio.to_thread(mounts, place)
        assert len(mounted) == 2
        assert len(mounted[0]) >= 4
        assert mounted[0] & mounted[1] == set(), "both can write to it"
        check_run_dirs(place, views)


def mounts(place: Place) -> list[set[str]]:
    """Return for each agent's container what it can write to outside of itself, and that it shares no space."""
    found = json.loads(engine.inspect(engine.containers(f"io.acp-subagents.test={mark(place.root)}", running=True)))
    for each in found:
        how = each["HostConfig"]
        assert (how["NetworkMode"], how["PidMode"], how["IpcMode"], how["UTSMode"]) == ("none", "", "private", "")
    return [{mount["Source"] for mount in each["Mounts"] if mount["RW"]} for each in found]


def check_run_dirs(place: Place, views: dict[str, SubagentView]) -> None:
    """See that of the folders with the sockets nobody enters another's, and nobody else any."""
    root = place.config.runtime_dir
    assert stat.S_IMODE(root.stat().st_mode) & 0o077 == 0, "nobody else enters it"
    (store,) = (each for each in root.iterdir() if each.is_dir())
    folders = [store / view.id for view in views.values()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in folders} == {0o750}
    for folder in folders:
        sockets = [each for each in folder.rglob("*") if each.is_socket()]
        assert sockets
        assert [each for each in sockets if each.lstat().st_mode & 0o007] == []
