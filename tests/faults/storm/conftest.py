from collections.abc import Iterator

import pytest

from tests.docker.closure import closure_image
from tests.faults.storm.site import StormSite


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StormSite]:
    """A place for a storm; nothing of it stays, whatever became of it."""
    made = StormSite(tmp_path_factory.mktemp("s", numbered=True), image=closure_image())
    try:
        yield made
    finally:
        made.close()
        made.remove_all()
