"""Fixtures of other suites that attacks are tried on."""

from tests.contract.conftest import closure, place
from tests.integration.api.conftest import site
from tests.integration.manager.conftest import ground
from tests.integration.service.conftest import bench

__all__ = ["bench", "closure", "ground", "place", "site"]
