"""`make demo`: a parent, one of its turns after another, and a real coding agent in a container. No API key.

The agent is opencode, in a hardened container without a network. The model behind it is the project's scripted model:
the steps in double brackets in the task are what the model "decides"; everything else is real. This is also the
shortest complete example of a host loop over the Python API.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from acp_runtime.cli.progress import Progress
from acp_runtime.config import load
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.launcher import Work
from acp_runtime.places import environment
from acp_runtime.service import Runtime, SpawnRequest
from tests.agents.scripted_model import ScriptedModel

PARENT = "demo"
TASK_SECONDS = 600.0

CALCULATOR = '''\
def add(a, b):
    """Return the sum of two numbers."""
    return a - b
'''
TEST = """\
import unittest

from calculator import add


class AddTest(unittest.TestCase):
    def test_two_and_three_make_five(self):
        self.assertEqual(add(2, 3), 5)
"""
TASK = """The test in this repository fails. Find out why, mend it, and show that the test passes.
[[shell:python3 -m unittest 2>&1 | tail -n 4]]
[[edit:calculator.py|return a - b|return a + b]]
[[shell:python3 -m unittest 2>&1 | tail -n 1]]
[[text:add() subtracted. It adds now, and the test passes.]]"""


class DemoError(Exception):
    """The demo did not show what it promises."""


def require(met: bool, sentence: str) -> None:
    if not met:
        raise DemoError(sentence)


def title(text: str) -> None:
    sys.stdout.write(f"\n\033[1m== {text}\033[0m\n" if sys.stdout.isatty() else f"\n== {text}\n")
    sys.stdout.flush()


def show(text: str) -> None:
    sys.stdout.write("".join(f"   {line}\n" for line in text.splitlines()) or "   (nothing)\n")
    sys.stdout.flush()


def run_test(repository: Path) -> bool:
    """Run the sample's test on this machine and show its last line."""
    done = subprocess.run(
        [sys.executable, "-B", "-m", "unittest"], cwd=repository, capture_output=True, text=True, check=False
    )
    show((done.stderr.strip().splitlines() or ["no output"])[-1])
    return done.returncode == 0


def make_sample(repository: Path) -> None:
    """Make a small repository with one failing test."""
    repository.mkdir()
    (repository / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    (repository / "calculator.py").write_text(CALCULATOR, encoding="utf-8")
    (repository / "test_calculator.py").write_text(TEST, encoding="utf-8")
    identity = ("-c", "user.name=demo", "-c", "user.email=demo@localhost")
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "A sum that is none")):
        subprocess.run(["git", *identity, *arguments], cwd=repository, check=True)


async def parent_turn(runtime: Runtime, number: int) -> tuple[str, ...]:
    """Take one turn of the parent: print what its model would see, acknowledge it, return the nudges in it."""
    title(f"turn {number} of the parent: what is appended to its newest message")
    async with runtime.turn(PARENT) as turn:
        show(turn.text)
    return turn.nudges


async def follow(runtime: Runtime, subagent: str) -> None:
    """Show the agent's tool calls until its task has ended."""
    progress, seen = Progress(show), 0
    async with asyncio.timeout(TASK_SECONDS):
        while True:
            tick = runtime.tick
            for row in await runtime.events(PARENT, subagent, since=seen):
                progress.show(row.event)
                seen = row.seq
            if (await runtime.status(PARENT, subagent)).newest.state.over:
                return
            await runtime.changed(tick)


async def work_of_a_subagent(folder: Path, request: SpawnRequest) -> Work:
    config = replace(load(None, environment()), state_dir=folder)
    launcher = DockerLauncher(config, environment())
    opened = Runtime.open(
        folder / "store.db", launcher=launcher, config=config, progress=lambda _subagent, sentence: show(sentence)
    )
    async with opened as runtime:
        await parent_turn(runtime, 1)
        title("the parent spawns a background subagent and goes on with its own work")
        view = await runtime.spawn(PARENT, request)
        show(f"{view.name} ({view.id}) is {view.status}")
        tick = runtime.tick
        while (await runtime.status(PARENT, view.id)).status == "starting":
            await runtime.changed(tick)
            tick = runtime.tick
        await parent_turn(runtime, 2)
        title("meanwhile, in the container")
        await follow(runtime, view.id)
        require(len(await parent_turn(runtime, 3)) == 1, "the parent was not told that the work is done")
        await runtime.poll(PARENT, view.id)
        require(not await parent_turn(runtime, 4), "the parent was told again after it had acknowledged")
        title("the parent stops the subagent and takes its work")
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    if work is None or not work.patch:
        raise DemoError("no work came out of the sandbox")
    return work


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="acp-demo-"))
    repository = folder / "sample"
    try:
        title("a sample repository, whose test fails")
        make_sample(repository)
        require(not run_test(repository), "the sample's test should fail at first")
        with ScriptedModel(port=0) as model:
            request = SpawnRequest(
                agent="opencode", workspace=repository, task=TASK, purpose="mend the failing test",
                model="scripted", model_url=model.base_url,
            )  # fmt: skip
            work = asyncio.run(work_of_a_subagent(folder, request))
        show(work.patch.decode("utf-8", "replace"))
        title("the patch is applied here, and the test runs again")
        subprocess.run(["git", "apply", "-"], cwd=repository, input=work.patch, check=True)
        require(run_test(repository), "the test still fails after the patch")
    except DemoError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    title("done: a real agent did real work in a container and handed it back")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
