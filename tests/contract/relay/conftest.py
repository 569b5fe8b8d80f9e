"""The contract holds for the shipped program over both transports, and for its source under the sanitizers."""

import platform
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import sandbox.programs
from sandbox.programs import program as program_file
from tests.contract.holder.conftest import compile_sanitized
from tests.contract.relay.carried import Carried, carrying

SOURCE = Path(sandbox.programs.__file__).with_name("relay.c")


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_sanitized(SOURCE, tmp_path_factory.mktemp("relay") / "relay")


@pytest.fixture(params=["shipped-attach", "sanitized-socket"])
async def relay(request: pytest.FixtureRequest) -> AsyncIterator[Carried]:
    program, way = request.param.split("-")
    if program == "shipped":
        path = program_file("relay", {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])
    else:
        path = request.getfixturevalue("sanitized")
    with tempfile.TemporaryDirectory(prefix="carried-") as folder:
        async with carrying(path, Path(folder), way) as carried:
            yield carried
