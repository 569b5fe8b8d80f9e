"""The bench itself: it runs, tells all it should, and leaves nothing. What it measures is not judged here."""

import json
import tempfile
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.measure import Figure, table

MEMORY = "manager's memory for one idle agent"
"""Of a single one it may come to nothing: Python often has the room already."""
WITHOUT_AN_ENGINE = {
    "append and commit of one event",
    "a parent's turn with 1 subagents",
    "a model's first byte, straight to its provider",
    "a model's first byte, through the gateway",
    "a model's long answer, straight to its provider",
    "a model's long answer, through the gateway",
    "round trip of a small message",
    "updates stored, a second",
    "manager's CPU for one update",
    "events in the log for 200 updates",
    "scripted agent: spawn to session ready, first in a process",
    "scripted agent: spawn to session ready",
    "scripted agent: stop, with its work exported",
    "scripted agent: the same while it obeys nothing",
    "the log's part of a small task",
    "a small task, straight to the agent",
    "a small task, sent to a subagent",
    MEMORY,
    "size of a poll for each byte said",
    "stop of a tree of 10 obeying agents",
    "start of Python alone",
    "start of the command line",
    "a prompt's hook, no daemon",
    "such a hook in starts of Python alone, no daemon",
    "a prompt's hook, asking the daemon",
    "such a hook in starts of Python alone, asking the daemon",
    "CPU for one update through the ACP proxy",
    "CPU for one update through cat",
    "a prompt, straight to its agent",
    "a prompt through the ACP proxy, no daemon",
    "CPU for such a prompt in the proxy, no daemon",
    "a prompt through the ACP proxy, asking the daemon",
    "CPU for such a prompt in the proxy, asking the daemon",
    "a tool's call, straight to the table",
    "a tool's call, by MCP",
    "a tool's call, by MCP over HTTP",
    "a tool's call, by an agent",
}


def test_a_quick_local_run_tells_every_figure_that_needs_no_engine_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["--quick", "--local", "--json", "-"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert {figure["name"] for figure in told["figures"]} == WITHOUT_AN_ENGINE
    assert [each for each in told["figures"] if not each["n"] or (each["p50"] <= 0 and each["name"] != MEMORY)] == []
    assert told["machine"]["kernel"] in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_95th_percentile_is_on_the_bad_side_whichever_that_is() -> None:
    samples = tuple(float(each) for each in range(1, 101))
    less = Figure("time", "ms", "local", samples)
    more = Figure("rate", "1/s", "local", samples, more_is_better=True)
    assert (less.p50, less.p95) == (50, 95)
    assert (more.p50, more.p95) == (51, 6)


def test_the_table_has_the_two_places_of_a_quantity_in_one_line() -> None:
    slow = Figure("trip", "ms", "container", (3.0,))
    shown = table([Figure("trip", "ms", "local", (2.0,)), Figure("only here", "ms", "local", (1.0,)), slow])
    assert shown.splitlines()[2:] == [
        "| trip | ms | 2 | 2 | 1 | 3 | 3 | 1 | 1.50 |",
        "| only here | ms | 1 | 1 | 1 | - | - | - | - |",
    ]
