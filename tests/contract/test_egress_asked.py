"""A host that a sandbox was refused is asked for, allowed for the task while the agent goes on, and refused afterwards.

The name leads nowhere on purpose: it is let through by the rules and cannot be found, which is another answer.
"""

import json
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.confinement import Egress
from acp_runtime.core.model import TaskState
from acp_runtime.presets import Network
from tests.contract.conftest import PARENT, Place, apply_patch

HOST = "no-such-host.example.org:443"
# Tries until it is refused no more, as an agent that was told to try again after a while; with `once` it tries once.
TRY = f"""
import json, socket, sys, time
def tried():
    with socket.create_connection(("127.0.0.1", 8791), timeout=60) as line:
        line.sendall(b"CONNECT {HOST} HTTP/1.1\\r\\nhost: {HOST}\\r\\n\\r\\n")
        said = b""
        while piece := line.recv(65536):
            said += piece
    return said.decode()
answers = [tried()]
until = time.monotonic() + 90
while sys.argv[1] != "once" and "egress_denied" in answers[-1] and time.monotonic() < until:
    time.sleep(0.2)
    answers.append(tried())
json.dump([answers[0], answers[-1]], open(sys.argv[1] + ".json", "w"))
"""


@pytest.mark.docker
@pytest.mark.requirement("D09.32")
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_a_host_refused_in_a_container_is_allowed_for_the_task_alone(place: Place) -> None:
    (place.workspace / "try.py").write_text(TRY)
    presets = place.config.presets
    ceiling = replace(presets["privileged"], network=Network.EGRESS, egress=Egress(("*.example.org",)))
    place.config = replace(place.config, presets={**presets, "privileged": ceiling})
    async with place.runtime() as runtime:
        request = place.request("[[run:python3 try.py allowed]]", egress=("known.example.org:443",))
        view = await runtime.spawn(PARENT, request)
        view = await place.until(runtime, view.id, lambda each: bool(each.requests or each.settled))
        assert [HOST in each.title for each in view.requests] == [True], view.newest.cause
        async with runtime.turn(PARENT) as turn:
            assert turn.text.count("needs permission") == 1
        grounds = await runtime.grounds(OPERATOR)
        assert grounds.gateway is not None
        assert (grounds.gateway.answers, grounds.gateway.accounts, grounds.gateway.last_record > "") == (True, 1, True)
        assert (grounds.unhealthy, grounds.unknown) == ((), "")
        await runtime.answer(PARENT, view.id, view.requests[0].id, "allow")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert view.newest.state is TaskState.COMPLETED, view.newest.cause
        await runtime.send(PARENT, view.id, "[[run:python3 try.py once]]")
        view = await place.until(runtime, view.id, lambda each: len(each.tasks) == 2 and each.settled)
        assert view.newest.state is TaskState.COMPLETED, view.newest.cause
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    assert work is not None
    apply_patch(place.workspace, work.patch)
    refused, let_through = json.loads((place.workspace / "allowed.json").read_text())
    assert "may allow it: go on without it, and try again after a while" in refused
    assert "egress_denied" not in let_through
    assert "egress_denied" in json.loads((place.workspace / "once.json").read_text())[0]
