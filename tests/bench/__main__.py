"""`python -m tests.bench`: record all figures in one run, the local process and the container side by side.

No figure is an aim and none is asserted. Everything that is made is removed, and the whole run ends within eight
minutes.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from acp_runtime.config import load
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.launcher import Launcher
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.service import SpawnRequest
from sandbox.agents_volume import AgentsVolume
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.image_recipe import load_recipe
from sandbox.images import ensure_base
from sandbox.spec import LABEL, SandboxSpec
from tests.agents.scripted_model import ScriptedModel
from tests.bench.adoption import adoption
from tests.bench.background import background
from tests.bench.channels import exec_stream, floods, pipe, round_trips
from tests.bench.gateway import calls
from tests.bench.held import attachments, cold_starts, holding, memory
from tests.bench.hooks import hooks
from tests.bench.inside import calls_from_inside
from tests.bench.mcp import tool_calls
from tests.bench.measure import Figure, Json, Place, busy, machine, table
from tests.bench.proxy import proxied
from tests.bench.runtime import BenchError, Stage, lives, scripted
from tests.bench.store import commits, rosters, tasks_in_the_log
from tests.bench.tasks import tasks
from tests.bench.trees import trees

BOUND = 480.0
LABELS = {f"{LABEL}test": "bench"}
EXIT_FAILED = 1


@dataclass(frozen=True)
class Counts:
    """How much is done of each."""

    lives: int = 6
    opencode: int = 4
    round_trips: int = 2_000
    attachments: int = 50
    updates: int = 100_000
    floods: int = 5
    commits: int = 1_000
    idle: int = 20
    starts: int = 20
    rosters: tuple[int, ...] = (1, 10, 1_000)
    tasks: int = 100
    adopted: int = 50
    calls: int = 200
    answers: int = 5
    events: int = 200_000
    proxied: int = 200
    tool_calls: int = 200


QUICK = Counts(
    lives=1,
    opencode=1,
    round_trips=20,
    attachments=1,
    updates=200,
    floods=1,
    commits=20,
    tasks=2,
    adopted=2,
    calls=2,
    answers=1,
    events=100,
    proxied=2,
    rosters=(1,),
    idle=1,
    starts=1,
    tool_calls=5,
)


class Bench:
    """One run, in a folder that is its own."""

    def __init__(self, folder: Path, counts: Counts) -> None:
        self._folder = folder
        self._counts = counts
        self._config = load(None, {"HOME": str(folder / "home")})
        self._config = replace(self._config, runtime_dir=folder / "run")
        self._workspace = folder / "workspace"
        self._workspace.mkdir()
        (self._workspace / "greeting.txt").write_text("hello\n", encoding="utf-8")

    async def run(self, engine: Engine | None) -> list[Figure]:
        """Record everything; without an engine what needs none."""
        counts, folder = self._counts, self._folder
        _say("the store")
        figures = await commits(folder, counts.commits)
        figures += await tasks_in_the_log(folder, counts.tasks)
        figures += await rosters(folder, counts.rosters)
        _say("calls of a model, with and without the gateway")
        figures += await calls(folder, count=counts.calls, floods=counts.answers, events=counts.events)
        async with AsyncExitStack() as stack:
            ways, stages = [pipe()], [self._scripted("local", LocalLauncher(folder / "agents", os.environ))]
            if engine is not None:
                base = await ensure_base(engine, _say)
                ways.append(exec_stream(await stack.enter_async_context(_idle_sandbox(engine, base))))
                for name in ("socket", "exec"):
                    held = await stack.enter_async_context(holding(engine, base, folder / f"held-{name}", LABELS))
                    ways.append(held.way(f", held by {name}", socket=name == "socket"))
                stages.append(self._scripted("container", self._docker()))
            _say("channels: " + " and ".join(way.place for way in ways))
            figures += await round_trips(ways, counts.round_trips)
            figures += await floods(ways, folder, count=counts.updates, times=counts.floods)
            if engine is not None:
                _say("attaching again, and cold starts")
                figures += await attachments(held, counts.attachments)
                figures += await memory(engine, held)
                figures += await cold_starts(engine, base, folder, LABELS, counts.lives)
                _say(f"adopting {counts.adopted} agents")
                figures += await adoption(folder, base, self._workspace, counts.adopted)
        _say("starts and stops of the scripted agent")
        figures += await lives(stages, folder, counts.lives)
        _say("small tasks")
        figures += await tasks(stages[0], folder, counts.tasks)
        _say("idle subagents, a poll, and the command line")
        figures += await background(stages[0], folder, agents=counts.idle, starts=counts.starts)
        figures += await asyncio.to_thread(hooks, counts.starts)
        _say("the end of a tree")
        figures += await trees(stages[0], folder, times=counts.lives)
        _say("the ACP proxy")
        figures += await asyncio.to_thread(
            proxied, folder, updates=counts.updates, prompts=counts.proxied, times=counts.floods
        )
        _say("calls of a tool, with and without MCP")
        figures += await tool_calls(stages[0], folder, count=counts.tool_calls)
        _say("calls of a tool by an agent")
        figures += await calls_from_inside(stages, folder, count=counts.tool_calls)
        return figures + await self._opencode(engine)

    async def _opencode(self, engine: Engine | None) -> list[Figure]:
        if engine is None or await _agents_volume(engine) is None:
            _say("opencode is left out: there is no engine, or no agents volume on it (make images)")
            return []
        _say("starts and stops of opencode")
        with ScriptedModel() as model:
            request = SpawnRequest(
                agent="opencode",
                workspace=self._workspace,
                task="[[text:ready]]",
                model="scripted",
                model_url=model.base_url,
            )
            stage = Stage("container", "opencode", self._docker(), self._config, request)
            return await lives([stage], self._folder, self._counts.opencode)

    def _scripted(self, place: Place, launcher: Launcher) -> Stage:
        request = SpawnRequest(agent="scripted", workspace=self._workspace, task="[[say:ready]]")
        python = sys.executable if place == "local" else "python3"
        return Stage(place, "scripted agent", launcher, scripted(self._config, python), request, "[[hang]]")

    def _docker(self) -> DockerLauncher:
        return DockerLauncher(self._config, os.environ, labels=LABELS)


@asynccontextmanager
async def _idle_sandbox(engine: Engine, image: str) -> AsyncIterator[Sandbox]:
    spec = SandboxSpec(
        store=f"{secrets.token_hex(4)}-bench",
        subagent="channels",
        image=image,
        command=("sleep", str(BOUND)),
        labels=LABELS,
        work=False,
        home=False,
    )
    sandbox = await Sandbox.create(engine, spec)
    try:
        yield sandbox
    finally:
        await asyncio.shield(sandbox.remove())


async def _agents_volume(engine: Engine) -> str | None:
    recipe, architecture = load_recipe(), engine.facts.architecture
    key, versions = recipe.agents_key(architecture), recipe.versions(architecture)
    return await AgentsVolume(engine=engine, key=key, versions=versions).published()


async def record(counts: Counts, *, containers: bool) -> tuple[Json, list[Figure]]:
    """Run the whole bench; return the machine and the figures. Raises BenchError, SandboxError, TimeoutError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        bench = Bench(Path(name), counts)
        async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
            engine = None
            if containers:
                engine = await Engine.connect(os.environ)
                stack.push_async_callback(engine.close)
            about = machine(f"Docker {engine.facts.version}" if engine else "none (--local)", Path(name))
            figures = await bench.run(engine)
            return about | {"load afterwards": busy()}, figures


def main(arguments: list[str] | None = None) -> int:
    """Print the table; write the figures as JSON to the file that was named, or to standard output for `-`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write JSON too; - is standard output, the table goes to stderr")
    parser.add_argument("--local", action="store_true", help="only what needs no engine")
    parser.add_argument("--quick", action="store_true", help="a few of each: shows that it runs, measures nothing")
    given = parser.parse_args(arguments)
    try:
        about, figures = asyncio.run(record(QUICK if given.quick else Counts(), containers=not given.local))
    except (BenchError, SandboxError) as error:
        _say(str(error))
        return EXIT_FAILED
    except TimeoutError:
        _say(f"the bench had not ended after {BOUND:g} s and was given up; try again when the machine is calm")
        return EXIT_FAILED
    text = json.dumps({"machine": about, "figures": [each.facts() for each in figures]}, indent=1) + "\n"
    shown = ", ".join(f"{key} {value}" for key, value in about.items()) + "\n\n" + table(figures) + "\n"
    (sys.stderr if given.json == "-" else sys.stdout).write(shown)
    if given.json == "-":
        sys.stdout.write(text)
    elif given.json:
        Path(given.json).write_text(text, encoding="utf-8")
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"· {sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
