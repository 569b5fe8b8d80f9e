"""Each test gets a stage of its own; when it ends, nothing of its runs may be left anywhere."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.closure import closure_image
from tests.e2e.stage import Stage, on_engine


@pytest.fixture
def stage() -> Iterator[Stage]:
    root = Path(tempfile.mkdtemp(prefix="e2e-", dir="/tmp"))  # short: sockets are made below it
    made = Stage(root)
    yield made
    left = made.close()
    shutil.rmtree(root)
    assert left == []


@pytest.fixture
def engine_stage(stage: Stage) -> Iterator[Stage]:
    """A stage whose runs are in containers of the small image."""
    stage.kind_inside("scripted")
    stage.write_config(f'[sandbox]\nimage = "{closure_image()}"')
    yield stage
    stage.close()
    assert on_engine(stage.pids) == []
