"""Fixtures of other suites that attacks are tried on."""

from tests.integration.manager.conftest import ground

__all__ = ["ground"]
