"""What is somebody else's on the engine, and looks like ours: no storm, and no reaper in it, may touch it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sandbox.ownership import Owner
from sandbox.spec import LABEL
from tests import engine

STORE = "bystand1"


@dataclass(frozen=True, slots=True)
class Bystanders:
    """A container that was never started and a volume, labelled as those of a dead manager, under a name of their own.

    Whoever goes by labels alone takes them for what may be removed.
    """

    name: str
    container: str

    def touched(self) -> list[str]:
        """Return what is not there any more."""
        there = [*engine.containers(f"{LABEL}store={STORE}"), *engine.volumes(f"{LABEL}store={STORE}")]
        return [f"{each} was removed" for each in (self.container, self.name) if each not in there]


@contextmanager
def bystanders(image: str, mark: str) -> Iterator[Bystanders]:
    with subprocess.Popen(["true"]) as dead:
        maker = replace(Owner.of_this_process(STORE, 1), pid=dead.pid, started=1)
    labels = maker.labels() | {f"{LABEL}subagent": "bg-0000000000", f"{LABEL}attempt": "1", f"{LABEL}role": "agent"}
    name = f"bystander-{mark}"
    with engine.client() as client:
        made = client.api.create_container(image, ["true"], name=name, labels=labels)["Id"]
        client.api.create_volume(name, labels=labels)
    try:
        yield Bystanders(name, made)
    finally:
        engine.remove_containers([made])
        engine.remove_volumes([name])
