"""Shared by all suites: skips are an exception that must be expected.

A test may be skipped only for a reason that stands in `EXPECTED_SKIPS`; any other skip fails the run, so that a suite
cannot turn green by not running.
"""

import signal
from pathlib import Path

import pytest

from sandbox.programs import build

EXPECTED_SKIPS = (
    "no sanitizer runtime:",
    "needs root:",
    "no libfaketime:",
    "no history:",
    "no installer:",
    "no foreign suite:",
    "no terminal multiplexer:",
)


def _reason(report: pytest.TestReport) -> str:
    return (
        str(report.longrepr[2]).removeprefix("Skipped: ")
        if isinstance(report.longrepr, tuple)
        else str(report.longrepr)
    )


class SkipGate:
    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = _reason(report)
            if not reason.startswith(EXPECTED_SKIPS):
                self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.unexpected:
            terminalreporter.write_line(f"UNEXPECTED SKIP {line}", red=True)


def _obey_signals() -> None:
    """Have commands under test obey signals also where the run itself ignores them (`nohup`, a script's `&`)."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            # A handler is not handed down to a child, while being ignored is.
            signal.signal(number, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that are marked long too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long") is not None]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in set(long)]


def _build_programs() -> None:
    """Have relay and holder be those of the sources beside them: a stale one fails far from where it is noticed."""
    built = Path(build.__file__).with_name("bin") / "SHA256SUMS"
    sources = (*built.parents[1].glob("*.c"), *built.parents[1].glob("*.h"))
    if not built.exists() or built.stat().st_mtime < max(each.stat().st_mtime for each in sources):
        build.build(built.parent, print)


def pytest_configure(config: pytest.Config) -> None:
    _obey_signals()
    if not hasattr(config, "workerinput"):
        _build_programs()
    config.pluginmanager.register(SkipGate(), "skip-gate")
