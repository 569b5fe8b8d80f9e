"""The self-check that inspect_ai has for any sandbox, over ours: a suite that we did not write.

It runs in an interpreter that has inspect_ai: this one, or the one that SUBAGENTS_INSPECT_PYTHON names (it needs
pytest, pytest-asyncio, docker and tenacity too). It is no requirement of the project: it brings a hundred packages.
"""

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 600
LEAST = 44  # tests of the version that was looked at: fewer would mean that it was not run
# Why each may fail. Nothing else may.
EXCEPTIONS = {"test_exec_as_user": "it adds a user to /etc/passwd: the root of a sandbox is read-only"}
MODULE = f"""
import os
import pytest
from inspect_ai.util._sandbox.self_check import *
from sandbox.container import Sandbox
from sandbox.engine import Engine
from tests.docker.inspect_provider import OurSandbox
from sandbox.spec import SandboxSpec

@pytest.fixture
async def sandbox_env():
    engine = await Engine.connect(os.environ)
    spec = SandboxSpec(
        store=os.environ["STORE"], subagent="one", image=os.environ["IMAGE"], command=("sleep", "{BOUND}"), home=False,
        env={{"SUBAGENTS_TEST_STORE": os.environ["STORE"]}},
    )
    sandbox = await Sandbox.create(engine, spec)
    try:
        yield OurSandbox(sandbox)
    finally:
        await sandbox.remove(volumes=True)
        await engine.close()
"""


def interpreter() -> str:
    """Return one that has inspect_ai. Skips where there is none."""
    if named := os.environ.get("SUBAGENTS_INSPECT_PYTHON"):
        return named
    if importlib.util.find_spec("inspect_ai") is None:
        pytest.skip(
            "no foreign suite: inspect_ai is not installed; name a Python that has it: SUBAGENTS_INSPECT_PYTHON"
        )
    return sys.executable


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.requirement("D09.24")
def test_the_self_check_of_inspect_ai_holds_but_for_what_is_named(store: str, image: str, tmp_path: Path) -> None:
    python, report = interpreter(), tmp_path / "report.xml"
    (tmp_path / "test_self_check.py").write_text(MODULE, encoding="utf-8")
    argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-c", os.devnull]
    argv += ["-o", "asyncio_mode=auto", f"--rootdir={tmp_path}", f"--junitxml={report}", str(tmp_path)]
    around = {**os.environ, "PYTHONPATH": str(ROOT), "STORE": store, "IMAGE": image}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=around, cwd=tmp_path, timeout=BOUND)
    assert report.exists(), done.stdout + done.stderr
    cases = {case.attrib["name"]: case for case in ET.parse(report).iter("testcase")}
    failed = {
        name for name, case in cases.items() if case.find("failure") is not None or case.find("error") is not None
    }
    print(
        f"inspect_ai's self-check: {len(cases) - len(failed)} of {len(cases)}; exceptions: {', '.join(sorted(failed))}"
    )
    assert len(cases) >= LEAST
    assert failed <= set(EXCEPTIONS), done.stdout[-20_000:]
