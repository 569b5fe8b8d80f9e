"""What others remove from the engine while nothing runs from it is had again at the next start."""

import os
from contextlib import suppress
from dataclasses import replace

import pytest
from docker.errors import ImageNotFound

from acp_runtime.manager.docker_launcher import DockerLauncher
from tests import engine
from tests.contract.conftest import PARENT, Place, label

pytestmark = [pytest.mark.docker, pytest.mark.parametrize("place", ["docker"], indirect=True)]


async def test_a_base_image_that_was_removed_while_nothing_ran_from_it_is_looked_for_again(place: Place) -> None:
    """As by a clean-up of the engine beside a manager whose agents have all ended."""
    repository, tag = "127.0.0.1:1/acp-subagents-test/own", f"{place.root.name}-{os.getpid()}"  # no registry has it
    name = f"{repository}:{tag}"
    with engine.client() as client:
        image = client.images.get(place.config.base_image or "")
        image.tag(repository, tag)
        config = replace(place.config, base_image=name)
        place.config, place.make_launcher = config, lambda: DockerLauncher(config, os.environ, labels=label(place.root))
        try:
            async with place.runtime() as runtime:
                first = await place.do(runtime, "[[say:one]]")
                await runtime.stop(PARENT, first.id)
                client.images.remove(name)
                view = await place.do(runtime, "[[say:two]]")
                assert f"The image {name} is not on the engine and could not be pulled" in view.cause
                image.tag(repository, tag)
                assert (await place.do(runtime, "[[say:three]]")).newest.result == "three"
        finally:
            with suppress(ImageNotFound):
                client.images.remove(name)
