"""One place to run agents in, twice: as local processes and in containers. The same tests hold for both.

A test that names the place `docker-exec` has it a third time: in containers that share no sockets with the manager.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.config import Config, load
from acp_runtime.config.config import Sockets
from acp_runtime.core.model import Limits, Permissions
from acp_runtime.detached import wait_for_end
from acp_runtime.manager.launcher import Launcher
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.session.catalogue import AgentKind, Catalogue
from acp_runtime.views import SubagentView
from tests import engine

SCRIPT = Path(__file__).parents[1] / "agents" / "scripted_agent.py"
KEEPING = SCRIPT.with_name("keeping_agent.py")
PARENT = "parent"
# For tests of agents that outlive their manager: both ways into a container, every day or the second in the long mode.
BOTH_WAYS = pytest.mark.parametrize("place", ["docker", "docker-exec"], indirect=True)
EXEC_IN_LONG = pytest.mark.parametrize(
    "place", ["docker", pytest.param("docker-exec", marks=pytest.mark.long)], indirect=True
)
BOUND = 100.0
DYING_SECONDS = 5.0
"""What was killed may be on its way out for a moment where much else runs."""


@dataclass
class Place:
    """Where agents run in a test: a launcher, a store, and a repository as workspace. `bound`: seconds of each wait."""

    name: str
    root: Path
    config: Config
    make_launcher: Callable[[], Launcher]
    python: str
    clock: ManualClock | None = None
    bound: float = BOUND
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.root / "repo"

    def kind(self, name: str, *flags: str) -> None:
        """Add an agent kind: the scripted agent with these flags."""
        argv = (self.python, "-c", SCRIPT.read_text(encoding="utf-8"), *flags)
        kinds = {**self.config.catalogue.kinds, name: AgentKind(name, argv)}
        self.config = replace(self.config, catalogue=Catalogue(kinds, "test"))

    def keeping(self, *flags: str) -> None:
        """Add the agent kind `keeping`: the agent that keeps its sessions, with these options."""
        self.add_kind(AgentKind("keeping", (self.python, "-c", KEEPING.read_text(encoding="utf-8"), *flags)))

    def add_kind(self, kind: AgentKind) -> None:
        kinds = {**self.config.catalogue.kinds, kind.name: kind}
        self.config = replace(self.config, catalogue=Catalogue(kinds, "test"))

    @asynccontextmanager
    async def runtime(self, progress: Callable[[str], None] = lambda _: None) -> AsyncIterator[Runtime]:
        path, launcher = self.root / "store" / "store.db", self.make_launcher()
        opened = Runtime.open(
            path,
            launcher=launcher,
            config=self.config,
            clock=self.clock,
            progress=lambda _subagent, sentence: progress(sentence),
        )
        async with opened as runtime:
            yield runtime

    def request(self, task: str, **changes: object) -> SpawnRequest:
        return replace(SpawnRequest(agent="scripted", workspace=self.workspace, task=task), **changes)  # type: ignore[arg-type]

    async def ended(self, runtime: Runtime, subagent: str) -> SubagentView:
        """Wait until the newest task has ended or asks."""
        view = (await runtime.wait(PARENT, [subagent], seconds=self.bound)).views[0]
        assert view.newest.state.over or view.requests, f"still {view.status} ({view.step}) after {self.bound} s"
        return view

    async def do(self, runtime: Runtime, task: str, **changes: object) -> SubagentView:
        """Spawn with a task and wait for its end."""
        view = await runtime.spawn(PARENT, self.request(task, **changes))
        return await self.ended(runtime, view.id)

    async def until(
        self, runtime: Runtime, subagent: str, met: Callable[[SubagentView], bool], caller: str = PARENT
    ) -> SubagentView:
        """Wait for a condition on the subagent."""
        view = await runtime.status(caller, subagent)
        try:
            async with asyncio.timeout(self.bound):
                while not met(view):
                    tick = runtime.tick
                    view = await runtime.status(caller, subagent)
                    if not met(view):
                        await runtime.changed(tick)
        except TimeoutError:
            pytest.fail(f"still {view.status} ({view.step}) after {self.bound} s: {view.cause or view.newest.cause}")
        return view


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def apply_patch(folder: Path, patch: bytes) -> None:
    subprocess.run(["git", "apply", "-"], cwd=folder, input=patch, check=True)


def make_repo(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "greeting.txt").write_text("hello\n", encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def config_for(root: Path, base_image: str | None) -> Config:
    config = load(None, {"HOME": str(root / "home"), "XDG_RUNTIME_DIR": ""})
    return replace(config, base_image=base_image, runtime_dir=root / "run", limits=Limits())


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("p", numbered=True)  # short, for the sockets
    make_repo(root / "repo")
    if request.param == "local":
        config = config_for(root, None)
        place = Place("local", root, config, lambda: LocalLauncher(root / "agents", os.environ), sys.executable)
    else:
        from acp_runtime.manager.docker_launcher import DockerLauncher

        image = request.getfixturevalue("closure")
        sockets: Sockets = "exec" if request.param == "docker-exec" else "auto"
        config = replace(config_for(root, image), sockets=sockets)
        place = Place(
            request.param, root, config, lambda: DockerLauncher(config, os.environ, labels=label(root)), "python3"
        )
    place.kind("scripted")
    yield place
    assert_nothing_left(root, on_the_engine=request.param != "local")


def assert_nothing_left(root: Path, *, on_the_engine: bool) -> None:
    """Fail when a process, a container, a volume or a run directory of a test outlives it."""
    processes = [each for each in processes_of(root) if not wait_for_end(each, DYING_SECONDS)]
    assert processes == [], f"processes are left: {processes}"
    if on_the_engine:
        left = docker_left(mark(root))
        assert left == [], f"left on the engine: {left}"
        assert not (root / "run").exists() or not any((root / "run").iterdir()), "a run directory is left"


def processes_of(root: Path) -> list[int]:
    """Return the processes that name this folder, or one in it, in an argument or a variable."""
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if _names(each, f"{root}/".encode())]


def _names(process: Path, wanted: bytes) -> bool:
    for each in ("environ", "cmdline"):
        with suppress(OSError):
            if int(process.name) != os.getpid() and wanted in (process / each).read_bytes():
                return True
    return False


def label(root: Path) -> dict[str, str]:
    """Return the label by which what a test made is found again."""
    return {"io.acp-subagents.test": mark(root)}


def mark(root: Path) -> str:
    """Return what no other test has, of this run or of an earlier one that left something behind."""
    return hashlib.sha256(bytes(root)).hexdigest()[:16]


def docker_left(test: str) -> list[str]:
    """Return what still carries a test's label on the engine."""
    label = f"io.acp-subagents.test={test}"
    return [*engine.containers(label), *engine.volumes(label)]


@pytest.fixture(scope="session")
def closure() -> str:
    from tests.docker.closure import closure_image

    return closure_image()


__all__ = ["PARENT", "Permissions", "Place", "apply_patch", "git"]
