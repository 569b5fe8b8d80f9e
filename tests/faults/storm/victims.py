"""What a storm does to whom. Each fault is a function of the storm and of the subagent that it is about.

It returns whose agents it ended: a subagent, "*" for all, or nothing; None when there was nothing to do it to.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import docker.errors

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.detached import wait_for_end
from acp_runtime.manager.model_way import HOLD
from tests import engine
from tests.faults.storm.journal_disk import is_full
from tests.faults.storm.site import LEASE, RUNTIMES

if TYPE_CHECKING:
    from tests.faults.storm.driver import Storm

MOMENT = 0.7
SOMETIMES = 0.4
LOOK_SECONDS = 0.05
REACH_SECONDS = 45.0
REPLACE_SECONDS = 90.0
IN_A_WRITE = "stands still in the middle of a write"
FREEZES = 5
# It says first whom it signals: the end of an agent can take the container away, and what would be said then with it.
FIND = (
    'for p in /proc/[0-9]*; do case "$(cat $p/comm $p/cmdline 2>/dev/null)" in "$0\n"*"$2"*) '
    "echo $p; kill -$1 ${p#/proc/};; esac; done; true"
)
Fault = Callable[["Storm", str], str | None]


def inside(storm: "Storm", subagent: str, name: str, number: str, word: str = "") -> bool:
    """Signal the processes of that name, and with that word in their command, in a container; whether there was one."""
    with suppress(docker.errors.APIError):
        if container := storm.site.container(subagent):
            return bool(engine.execute(container, "sh", "-c", FIND, name, number, word, user="0").count("/proc/"))
    return False


def kill_inside(name: str) -> Fault:
    def fault(storm: "Storm", subagent: str) -> str | None:
        return subagent if inside(storm, subagent, name, "KILL") else None

    return fault


def kill_attach(storm: "Storm", subagent: str) -> str | None:
    return "" if inside(storm, subagent, "holder", "KILL", "attach") else None


def freeze_inside(name: str, word: str = "") -> Fault:
    def fault(storm: "Storm", subagent: str) -> str | None:
        if not inside(storm, subagent, name, "STOP", word):
            return None
        time.sleep(MOMENT)
        inside(storm, subagent, name, "CONT", word)
        return ""

    return fault


def on_container(verb: str, **how: object) -> Fault:
    def fault(storm: "Storm", subagent: str) -> str | None:
        with suppress(docker.errors.APIError), engine.client() as client:
            if container := storm.site.container(subagent):
                getattr(client.api, verb)(container, **how)
                return subagent
        return None

    return fault


def freeze_container(storm: "Storm", subagent: str) -> str | None:
    with suppress(docker.errors.APIError), engine.client() as client:
        if container := storm.site.container(subagent):
            made = client.api.inspect_container(container)
            if all(each["Destination"] != HOLD for each in made["Mounts"]):
                return freeze_group(made["State"]["Pid"])
            client.api.pause(container)
            time.sleep(MOMENT)
            with suppress(docker.errors.APIError):
                client.api.unpause(container)
            return ""
    return None


def freeze_group(pid: int) -> str | None:
    """Freeze the processes of a container behind the engine's back.

    dockerd 20.10 with runc: where a pause meets an exec that is being started, the engine can never resume the
    container. That happens where everything goes over execs.
    """
    with suppress(OSError):
        groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
        old = Path(f"/sys/fs/cgroup/freezer{groups.get('freezer')}/freezer.state")
        file, on, off = (old, "FROZEN", "THAWED") if old.exists() else (
            Path(f"/sys/fs/cgroup{groups['']}/cgroup.freeze"), "1", "0",
        )  # fmt: skip
        file.write_text(on)
        try:
            time.sleep(MOMENT)
        finally:
            file.write_text(off)
        return ""
    return None


def end_manager(number: signal.Signals) -> Fault:
    def fault(storm: "Storm", _: str) -> str | None:
        storm.site.end(storm.manager, number)
        storm.start_manager()
        return ""

    return fault


def freeze_manager(storm: "Storm", _: str) -> str | None:
    os.kill(storm.manager, signal.SIGSTOP)
    time.sleep(MOMENT)
    os.kill(storm.manager, signal.SIGCONT)
    return ""


def kill_gateway(storm: "Storm", _: str) -> str | None:
    """Kill the gateway: no agent ends with it, and its manager has another one."""
    gateway = storm.site.gateway
    if gateway is None:
        return None
    storm.site.end(gateway, signal.SIGKILL)
    return ""


def freeze_gateway(storm: "Storm", _: str) -> str | None:
    gateway = storm.site.gateway
    if gateway is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(gateway, signal.SIGSTOP)
        time.sleep(MOMENT)
        os.kill(gateway, signal.SIGCONT)
    return ""


def hang_gateway(storm: "Storm", _: str) -> str | None:
    """Have the gateway hang until its manager has ended it, which it does while an agent needs it."""
    gateway, until = storm.site.gateway, time.perf_counter() + REPLACE_SECONDS
    if gateway is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(gateway, signal.SIGSTOP)
        while not (ended := wait_for_end(gateway, LOOK_SECONDS)) and time.perf_counter() < until:
            if not storm.site.look("SELECT id FROM subagent WHERE lifecycle = 'ready'"):
                break
        else:
            storm.wrong += [] if ended else [f"the gateway {gateway} hung, and its manager did not replace it"]
        os.kill(gateway, signal.SIGCONT)
    return ""


def replace_manager(storm: "Storm", _: str) -> str | None:
    storm.start_manager("--replace")
    return ""


def outlast_lease(storm: "Storm", _: str) -> str | None:
    old = storm.manager
    for left in reversed(range(FREEZES)):
        os.kill(old, signal.SIGSTOP)
        try:
            time.sleep(LEASE + 0.5)
            storm.start_manager("--replace")
            wait_until_reached(storm)  # what it could take away from its successor is there to be taken
            break
        except AssertionError as refused:
            # Frozen in the middle of a write it keeps the store from everybody; who comes is told so.
            if IN_A_WRITE not in str(refused) or not left:
                raise
        finally:
            os.kill(old, signal.SIGCONT)
        time.sleep(MOMENT)
    if not wait_for_end(old, 2 * LEASE):
        storm.strays.append(old)
    return ""


def while_away(other: Fault) -> Fault:
    """Kill the manager, do something else while it is away, and start another."""

    def fault(storm: "Storm", subagent: str) -> str | None:
        storm.site.end(storm.manager, signal.SIGKILL)
        ended = other(storm, subagent)
        storm.start_manager()
        return ended or ""

    return fault


def wipe_while_away(storm: "Storm", _: str) -> str | None:
    storm.site.wipe(storm.site.runtime)
    return ""


def wipe_while_there(storm: "Storm", _: str) -> str | None:
    """Delete the folder with the sockets of a daemon and its agents. It comes back, or is ended before it can."""
    storm.site.wipe(storm.site.runtime)
    if storm.draw.random() < SOMETIMES:
        time.sleep(MOMENT)
        storm.site.end(storm.manager, storm.draw.choice((signal.SIGTERM, signal.SIGKILL)))
        storm.start_manager()
    elif not answers(storm.site.client):
        storm.wrong.append(f"the manager {storm.manager} never came back to where it is looked for")
    return ""


def answers(client: UnixClient) -> bool:
    until = time.perf_counter() + REACH_SECONDS
    while time.perf_counter() < until:
        with suppress(DaemonError):
            return bool(client.hello())
        time.sleep(LOOK_SECONDS)
    return False


def move_runtime(storm: "Storm", _: str) -> str | None:
    storm.site.move(next(each for each in RUNTIMES if each != storm.site.runtime))
    return ""


def change_transport(storm: "Storm", subagent: str) -> str | None:
    """Have a successor that takes the other way to its agents, for a while, and then one that takes the usual way."""
    usual = storm.site.sockets
    storm.site.sockets = "auto" if usual == "exec" else "exec"
    try:
        return with_successor(storm, subagent)
    finally:
        storm.site.sockets = usual
        storm.site.write_config()
        end_manager(signal.SIGKILL)(storm, subagent)


def take_key_away(storm: "Storm", subagent: str) -> str | None:
    """Have a successor that does not know the key of the model, for a while, and then one that does."""
    storm.site.keyless = True
    try:
        return with_successor(storm, subagent)
    finally:
        storm.site.keyless = False
        end_manager(signal.SIGKILL)(storm, subagent)


def with_successor(storm: "Storm", subagent: str) -> str:
    """Have another manager until it has nobody out of reach; sometimes an agent is killed under it."""
    storm.site.write_config()
    end_manager(signal.SIGKILL)(storm, subagent)
    killed = kill_agent(storm, subagent) if storm.draw.random() < SOMETIMES else None
    time.sleep(MOMENT)
    wait_until_reached(storm)
    return killed or ""


def wait_until_reached(storm: "Storm") -> None:
    """Return once the newest manager has nobody out of its reach."""
    until = time.perf_counter() + REACH_SECONDS
    while lost := storm.site.look("SELECT id FROM subagent WHERE lifecycle = 'lost'"):
        if time.perf_counter() > until:
            storm.wrong += [f"{each} stayed out of the reach of another manager" for (each,) in lost]
            break
        time.sleep(LOOK_SECONDS)


def fill_journals(storm: "Storm", subagent: str) -> str | None:
    """Leave no room on the disk of the journals for a while. Manager or agent may be killed meanwhile."""
    killed = None
    if storm.disk is None or not (container := storm.site.container(subagent)):
        return None
    with storm.disk.full():
        if not is_full(container):
            return None
        time.sleep(MOMENT)
        if storm.draw.random() < SOMETIMES:
            end_manager(signal.SIGKILL)(storm, subagent)
        elif storm.draw.random() < SOMETIMES:
            killed = kill_agent(storm, subagent)
        time.sleep(MOMENT)
    return killed or ""


def close_stdout(storm: "Storm", subagent: str) -> str | None:
    """Have an agent close its stdout and live: it has to be ended, for nobody will hear of it any more."""
    return subagent if inside(storm, subagent, "python3", "USR1") else None


def kill_parent(storm: "Storm", _: str) -> str | None:
    name = storm.draw.choice(sorted(storm.parents))
    storm.end_parent(name)
    storm.start_parent(name)
    return ""


def restart_host(storm: "Storm", _: str) -> str | None:
    for name in storm.parents:
        storm.end_parent(name)
    storm.site.end(storm.manager, signal.SIGKILL)
    if (gateway := storm.site.gateway) is not None:
        storm.site.end(gateway, signal.SIGKILL)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_kill_container, storm.site.containers()))
    if storm.engine is not None:
        storm.engine.end(signal.SIGKILL)
        storm.engine.start()
    storm.site.wipe(*RUNTIMES)
    storm.site.boots += 1
    storm.start_manager()
    for name in storm.parents:
        storm.start_parent(name)
    return "*"


def _kill_container(container: str) -> None:
    with suppress(docker.errors.APIError), engine.client() as client:
        client.api.kill(container)


def end_engine(number: signal.Signals) -> Fault:
    def fault(storm: "Storm", _: str) -> str | None:
        if storm.engine is None:
            return None
        storm.engine.end(number)
        time.sleep(MOMENT)
        storm.engine.start()
        return "" if storm.engine.live_restore else "*"

    return fault


def freeze_engine(storm: "Storm", _: str) -> str | None:
    if storm.engine is None:
        return None
    os.kill(storm.engine.pid, signal.SIGSTOP)
    time.sleep(4 * MOMENT)
    os.kill(storm.engine.pid, signal.SIGCONT)
    return ""


kill_agent, kill_container = kill_inside("python3"), on_container("kill")
FAULTS: dict[str, Fault] = {
    "manager-kill": end_manager(signal.SIGKILL),
    "manager-term": end_manager(signal.SIGTERM),
    "manager-freeze": freeze_manager,
    "manager-replace": replace_manager,
    "manager-lease": outlast_lease,
    "manager-and-agent": while_away(kill_agent),
    "manager-and-container": while_away(kill_container),
    "runtime-and-manager": while_away(wipe_while_away),
    "runtime-wipe": wipe_while_there,
    "runtime-move": while_away(move_runtime),
    "transport": change_transport,
    "model-key": take_key_away,
    "gateway-kill": kill_gateway,
    "gateway-freeze": freeze_gateway,
    "gateway-hang": hang_gateway,
    "journal-disk": fill_journals,
    "agent-stdout": close_stdout,
    "agent-kill": kill_agent,
    "agent-freeze": freeze_inside("python3"),
    "holder-kill": kill_inside("holder"),
    "relay-kill": kill_inside("relay"),
    "attach-kill": kill_attach,
    "attach-freeze": freeze_inside("holder", "attach"),
    "container-kill": kill_container,
    "container-remove": on_container("remove_container", force=True),
    "container-freeze": freeze_container,
    "parent-kill": kill_parent,
    "host": restart_host,
    "engine-term": end_engine(signal.SIGTERM),
    "engine-kill": end_engine(signal.SIGKILL),
    "engine-freeze": freeze_engine,
}
NEEDS_ROOT = frozenset({"host", "journal-disk"})
NEEDS_ROOT_OVER_EXECS = frozenset({"container-freeze"})
NEEDS_EXEC = frozenset({"attach-kill", "attach-freeze"})
# A volume with a folder of somebody else behind it can never be removed by an engine that was ended while it was used.
NEEDS_USUAL_ENGINE = frozenset({"journal-disk"})
# These ask something of their manager: where it stands still at a point it goes on first.
NEEDS_MANAGER = frozenset(
    {"manager-replace", "runtime-wipe", "journal-disk", "parent-kill", "engine-freeze", "gateway-hang"}
)
NEEDS_ENGINE = frozenset({"engine-term", "engine-kill", "engine-freeze"})
