"""Fixtures of other suites that attacks are tried on."""

from tests.contract.conftest import closure, place
from tests.integration.api.conftest import site
from tests.integration.manager.conftest import ground

__all__ = ["closure", "ground", "place", "site"]
