"""An image that the user names: taken where it is, pulled where a registry has it, else refused with the remedy."""

import secrets

import pytest

from sandbox import images
from sandbox.engine import Engine
from sandbox.errors import ImageMissing
from sandbox.images import ensure_image
from tests.docker.closure import closure_image
from tests.docker.registry import registry, silent_registry

pytestmark = pytest.mark.docker


async def test_an_image_that_is_there_is_taken_without_a_word(engine: Engine):
    said: list[str] = []
    assert await ensure_image(engine, closure_image(), said.append) == closure_image()
    assert said == []


async def test_an_image_that_a_registry_has_is_pulled(engine: Engine):
    said: list[str] = []
    with registry({"etc/hello": secrets.token_bytes(8)}, engine.facts.architecture) as host:
        name = f"{host}/some/image:1"
        assert await ensure_image(engine, name, said.append) == name
    assert await engine.inspect_image(name)
    await engine.remove_image(name)
    assert len(said) == 1


async def test_an_image_that_cannot_be_had_is_missing_with_the_remedy(engine: Engine):
    name = "127.0.0.1:1/acp-subagents-test/nowhere:1"
    with pytest.raises(ImageMissing) as caught:
        await ensure_image(engine, name, [].append)
    sentence = str(caught.value)
    assert sentence.startswith(f"The image {name} is not on the engine and could not be pulled (")
    assert sentence.endswith("pull, build or load it first, or leave --image out to use the default image.")


async def test_a_registry_that_never_answers_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "FIRST_WORD_SECONDS", 0.5)
    with silent_registry() as host, pytest.raises(ImageMissing, match="no registry answered in time"):
        await ensure_image(engine, f"{host}/some/image:1", [].append)


@pytest.mark.parametrize(
    "name", ["", " ", "-rm", "Big/Name", "a b", "a\nb", "\x1b[31m", "x" * 600, "a:b:c", "a@sha256:1"]
)
async def test_a_name_that_is_none_is_refused_at_once(engine: Engine, name: str):
    said: list[str] = []
    with pytest.raises(ImageMissing, match="is not the name of an image") as caught:
        await ensure_image(engine, name, said.append)
    assert said == []
    assert str(caught.value).isprintable()
