from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.gateway.gateway_site import GatewaySite, gateway_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GatewaySite]:
    async with gateway_site(tmp_path) as made:
        yield made
