"""Two agents in containers with tools of their own: the token of one is good for nothing with the other."""

import json
import shlex

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.manager.tools_way import TOOLS_PORT
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from tests.agents.one_file import tooled_agent
from tests.contract.conftest import PARENT, Place
from tests.security.test_two_agents import said

pytestmark = [pytest.mark.docker, pytest.mark.parametrize("place", ["docker"], indirect=True)]

# Whoever listens within reach is told the token, in the words of the program that carries an agent's tools.
KNOCK = """
import socket
ports = set()
for line in open("/proc/net/tcp").readlines()[1:]:
    fields = line.split()
    if fields[3] == "0A":
        ports.add(int(fields[1].rpartition(":")[2], 16))
for port in sorted(ports):
    with socket.create_connection(("127.0.0.1", port), 5) as knocked:
        knocked.settimeout(5)
        knocked.sendall(b"subagents-tools 1 TOKEN" + bytes((10,)))
        knocked.shutdown(socket.SHUT_WR)
        try:
            print("port", port, knocked.recv(200))
        except OSError as error:
            print("port", port, error)
"""


async def refusals(runtime: Runtime, subagent: str) -> list[str]:
    rows = (await runtime.poll(OPERATOR, subagent, since=0)).rows
    return [row.text for row in rows if row.kind == "tools_refused"]


@pytest.mark.requirement("T23")
async def test_a_token_is_good_for_nothing_in_another_container_and_the_others_socket_is_out_of_reach(
    place: Place,
) -> None:
    place.add_kind(AgentKind("scripted", tooled_agent(place.python)))
    async with place.runtime() as runtime:
        owner = await place.do(runtime, "[[token]]")
        token = owner.newest.result
        other = await place.do(runtime, f"[[stranger:{token}]]")
        error = json.loads(other.newest.result)["error"]
        assert error["code"] == -32001
        assert error["message"].startswith("token_refused: this is no token of this agent"), error
        assert len(await refusals(runtime, other.id)) == 1
        knock = KNOCK.replace("TOKEN", token)
        heard = await said(place, runtime, other, f"python3 -c {shlex.quote(knock)}; ls /run/subagents 2>&1")
        assert f"port {TOOLS_PORT} b'no token_refused" in heard, heard
        assert "b'ok" not in heard
        assert "Permission denied" in heard
        assert len(await refusals(runtime, other.id)) == 2
        assert await refusals(runtime, owner.id) == [], "nobody came to the owner's socket"
        heard = await said(place, runtime, owner, f"python3 -c {shlex.quote(knock)}")
        assert f"port {TOOLS_PORT} b'ok" in heard, "the control: its owner is let in this way"
        await runtime.send(PARENT, owner.id, "[[tools]]")
        assert (await place.ended(runtime, owner.id)).newest.result == "ask_parent report_result"
