"""Real agents whose sandboxes reach one host: they do their task, reach that host, and ten other places not."""

import json
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.model import TaskState
from acp_runtime.views import Reached
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import apply_patch, assert_nothing_left
from tests.docker.real_place import BOUND, CANARY, RealPlace, make_place
from tests.integration.egress_site import listening, tls_of_a_host

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.timeout(600)]

AGENTS = ["opencode", pytest.param("codex", marks=pytest.mark.long), pytest.param("claude", marks=pytest.mark.long)]
# By the proxy that the environment names, past it, and with other words in its tunnel.
TRY = """
import http.client, json, os, socket, ssl, sys, urllib.request
plain, tls = map(int, sys.argv[1:])
loose = ssl._create_unverified_context()
def told(act):
    try:
        return act()
    except Exception as error:
        return "refused: " + type(error).__name__ + ": " + str(error)
def over_proxy(url):
    line = http.client.HTTPConnection("127.0.0.1", 8791, timeout=60)
    line.request("GET", url)
    answer = line.getresponse()
    text = answer.read().decode()
    return text if answer.status == 200 else f"refused: {answer.status}"
def tunnelled(host, port, name):
    line = http.client.HTTPSConnection("127.0.0.1", 8791, timeout=60, context=loose)
    line.set_tunnel(host, port)
    http.client.HTTPConnection.connect(line)
    line.sock = loose.wrap_socket(line.sock, server_hostname=name)
    line.request("GET", "/")
    return line.getresponse().read().decode()
def asked(url):
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=loose)).open(url, timeout=60).read().decode()
def connected(host, port):
    socket.create_connection((host, port), timeout=5)
    return "connected"
found = {
    "allowed": [told(lambda: over_proxy(f"http://localhost:{plain}/")),
                told(lambda: tunnelled("localhost", tls, "localhost"))],
    "others": [told(act) for act in (
        lambda: asked("http://example.org/"), lambda: asked("https://example.org/"),
        lambda: over_proxy(f"http://127.0.0.1:{plain}/"), lambda: over_proxy("http://localhost:9/"),
        lambda: over_proxy(f"http://localhost.example.org:{plain}/"), lambda: over_proxy(f"http://x@localhost:{plain}/"),
        lambda: over_proxy("http://169.254.169.254/latest/"), lambda: tunnelled("localhost", tls, "example.org"),
        lambda: tunnelled("example.org", 443, "example.org"), lambda: over_proxy("/pip/simple/x/"),
        lambda: connected("172.17.0.1", plain), lambda: connected("localhost", plain), lambda: connected("8.8.8.8", 53),
    )],
}
json.dump(found, open("found.json", "w"))
"""


def tried(reached: list[Reached], end: str) -> list[tuple[str, str, int, str]]:
    return sorted((each.way, each.host, each.port, each.code) for each in reached if each.end == end)


def refused_in_all(plain: int, tls: int) -> list[tuple[str, str, int, str]]:
    """The ten that came as far as the proxy; what is no host that could be allowed is told by its reason alone."""
    denied, no_host = "egress_denied", ("none", "", 0, "host_refused")
    return sorted(
        [
            ("http", "example.org", 80, denied), ("tunnel", "example.org", 443, denied),
            ("tunnel", "example.org", 443, denied), ("http", "localhost", 9, denied),
            ("http", "localhost.example.org", plain, denied), ("tunnel", "localhost", tls, "hello_refused"),
            no_host, no_host, no_host, ("none", "", 0, denied),
        ]
    )  # fmt: skip


@pytest.mark.requirement("T7")
@pytest.mark.parametrize("agent", AGENTS)
async def test_a_real_agent_with_a_way_out_does_its_task_and_reaches_nothing_else(
    tmp_path: Path, model: ScriptedModel, agent: str
) -> None:
    real: RealPlace = make_place(tmp_path, model, agent)
    (real.workspace / "try.py").write_text(TRY)
    async with listening(None, BOUND) as plain, listening(tls_of_a_host(), BOUND) as tls, real.runtime() as runtime:
        rules = tuple(f"unsafe_private:localhost:{host.port}" for host in (plain, tls))
        task = f"[[shell:python3 try.py {plain.port} {tls.port}]][[text:All done.]]"
        view = await runtime.spawn(OPERATOR, real.request(task, egress=rules))
        view = await real.until(
            runtime, view.id, lambda each: each.settled, OPERATOR
        )  # it asks for what it was refused
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "All done."), view.newest.cause
        assert view.unsafe == rules
        reached = await runtime.reached(OPERATOR, subagent=view.id)
        await runtime.stop(OPERATOR, view.id, finished=True)
        work = await runtime.work(OPERATOR, view.id)
    assert work is not None
    apply_patch(real.workspace, work.patch)
    found = json.loads((real.workspace / "found.json").read_text())
    assert found["allowed"] == ["ok", "ok"]
    assert [each for each in found["others"] if not each.startswith("refused: ")] == []
    assert (plain.connections, tls.connections) == (1, 1)
    assert {request.headers.get("authorization") for request in model.requests} & {f"Bearer {CANARY}", None}
    assert tried(reached, "refused") == refused_in_all(plain.port, tls.port), (
        "nothing else was tried, at its start either"
    )
    assert {(way, host, port) for way, host, port, _ in tried(reached, "answered")} == {
        ("model", "127.0.0.1", model.port), ("http", "localhost", plain.port), ("tunnel", "localhost", tls.port)
    }  # fmt: skip
    assert_nothing_left(tmp_path, on_the_engine=True)
