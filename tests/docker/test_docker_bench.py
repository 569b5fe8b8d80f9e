"""The container section of docker-bench-security over a sandbox: a suite that we did not write and do not carry along.

SUBAGENTS_DOCKER_BENCH names a checkout of github.com/docker/docker-bench-security; nothing is fetched.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from acp_runtime.manager.model_way import relay_command
from sandbox.engine import Engine
from sandbox.probe import ProbeResult
from sandbox.programs_volume import PROGRAMS_MOUNT, ensure_programs
from sandbox.spec import VolumeMount
from tests.docker.closure import closure_image
from tests.docker.conftest import MakeSandbox

BOUND = 120
LEAST = 27  # that pass: fewer would mean that it was not run
OF_A_MODULE = {"apparmor": "5.2", "selinux": "5.3"}  # an engine may have neither


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.requirement("D09.24")
async def test_docker_bench_warns_of_nothing_but_what_the_kernel_lacks(
    make_sandbox: MakeSandbox, engine: Engine, tmp_path: Path
) -> None:
    folder = os.environ.get("SUBAGENTS_DOCKER_BENCH")
    if not folder:
        pytest.skip("no foreign suite: SUBAGENTS_DOCKER_BENCH names no checkout of docker-bench-security")
    programs = VolumeMount(await ensure_programs(engine, closure_image()), PROGRAMS_MOUNT)
    command = relay_command(ProbeResult(sockets_shared=False, gid=0, uid=0, why=""))
    sandbox = await make_sandbox(journal=True, command=command, mounts=(programs,))
    results = await asyncio.to_thread(bench, folder, sandbox.spec.name, tmp_path / "log")
    warned = {ident for ident, result in results.items() if result == "WARN"}
    passed = sum(result == "PASS" for result in results.values())
    print(f"docker-bench-security: {passed} of {len(results)} pass; warnings: {', '.join(sorted(warned)) or 'none'}")
    options = " ".join(engine.facts.security_options)
    lacking = {check for module, check in OF_A_MODULE.items() if module not in options}
    assert passed >= LEAST
    assert warned <= lacking


def bench(folder: str, container: str, log: Path) -> dict[str, str]:
    """Return what became of each check of the section, by its number."""
    argv = ["bash", "./docker-bench-security.sh", "-b", "-c", "container_runtime", "-i", container, "-l", str(log)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=folder, timeout=BOUND)
    report = log.with_suffix(".json")
    assert report.exists(), done.stdout + done.stderr
    (section,) = json.loads(report.read_text(encoding="utf-8"))["tests"]
    return {each["id"]: each["result"] for each in section["results"]}
