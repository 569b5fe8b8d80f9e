"""Transcripts and patches as resources of the protocol."""

import pytest
from mcp.shared.exceptions import MCPError

from acp_runtime.manager.launcher import Work
from acp_runtime.manager.work import write_work
from acp_runtime.mcp import resources
from tests.integration.mcp.conftest import Connect, client_of
from tests.integration.service.conftest import STRANGER, Bench, done

pytestmark = pytest.mark.requirement("D10.44")
PATCH = "--- a/x\n+++ b/x\n"


async def ended(bench: Bench, task: str = "[[say:hello]]") -> str:
    """Return one that has ended and left a patch."""
    view = await done(bench, task)
    await bench.runtime.stop(bench.parent, view.id)
    write_work(bench.ground.path.with_name("work"), view.id, Work(PATCH.encode(), 1, 1, 1, ""))
    return view.id


async def test_the_transcripts_and_patches_of_own_subagents_are_listed_and_read(bench: Bench, connect: Connect) -> None:
    ident = await ended(bench)
    async with connect() as client:
        listed = (await client.list_resources()).resources
        assert [each.uri for each in listed] == [f"subagents://{ident}/transcript", f"subagents://{ident}/patch"]
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == [
            "subagents://{id}/transcript{?offset}",
            "subagents://{id}/patch{?offset}",
        ]
        (transcript,) = (await client.read_resource(listed[0].uri)).contents
        assert transcript.text.startswith("(session_opened)")
        assert "\nhello\n" in transcript.text
        (patch,) = (await client.read_resource(listed[1].uri)).contents
        assert (patch.text, patch.meta) == (PATCH, {"total_chars": len(PATCH)})


async def test_a_long_one_comes_in_pages_that_add_up(
    bench: Bench, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "PAGE_CHARS", 5)
    uri: str | None = f"subagents://{await ended(bench)}/patch"
    read = ""
    async with connect() as client:
        while uri is not None:
            (page,) = (await client.read_resource(uri)).contents
            assert len(page.text) <= 5
            read += page.text
            uri = page.meta.get("next")
    assert read == PATCH


async def test_those_of_another_parent_are_as_unknown_as_those_that_there_are_not(bench: Bench) -> None:
    ident = await ended(bench)
    told = []
    async with client_of(bench.another(STRANGER)) as client:
        assert (await client.list_resources()).resources == []
        for each in (ident, "bg-0123456789"):
            with pytest.raises(MCPError, match="Unknown background subagent") as raised:
                await client.read_resource(f"subagents://{each}/transcript")
            told.append(raised.value.error.message.replace(each, "ID"))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "subagents://",
        "subagents://bg-0123456789/work",
        "subagents://bg-0123456789/patch?offset=-1",
        "subagents://bg-0123456789/patch?offset=\u0663",
        "subagents://bg-0123456789/patch?offset=1&other=2",
        "subagents://../patch",
        "subagents://[x/patch",
        "subagents://" + "x" * 100_000 + "/patch",
    ],
)
async def test_what_is_no_resource_of_ours_is_an_error(bench: Bench, uri: str) -> None:
    async with client_of(bench) as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource(uri)
    assert raised.value.error.code == -32602
    assert "there is no resource" in raised.value.error.message


async def test_one_that_works_has_no_patch_yet(bench: Bench) -> None:
    view = await done(bench, "[[say:hello]]")
    async with client_of(bench) as client:
        with pytest.raises(MCPError, match="has no patch"):
            await client.read_resource(f"subagents://{view.id}/patch")
