"""The manifest of requirements and the tests agree, both ways; and the page that is made from it is current."""

import re

import pytest

from docs.guarantees import PAGE, manifest, page
from tests.unit.marked import all_tests, marked

ROWS = {row.id: row for row in manifest()}
THIS_ISSUE = 3


def test_every_row_of_the_proposals_is_there_once_and_in_order() -> None:
    ids = [row.id for row in manifest()]
    assert len(ids) == len(set(ids))
    counts = {"P": 27, "A": 11, "O": 10, "B": 28}
    wanted = [f"{letter}{n:02}" for letter, count in counts.items() for n in range(1, count + 1)]
    assert [ident for ident in ids if ident[0] not in "DT"] == wanted
    sections = {ident[:3] for ident in ids if ident[0] == "D"}
    assert {"D04", "D05", "D06", "D07", "D08"} <= sections


def test_every_row_has_tests_or_the_number_of_a_later_issue() -> None:
    for row in manifest():
        assert bool(row.tests) != (row.later is not None), row.id
        assert row.later is None or row.later > THIS_ISSUE, row.id
        assert row.says, row.id
        assert not set("|\n") & set(row.says), row.id


def test_no_row_names_a_test_twice() -> None:
    doubled = {row.id: [test for test in set(row.tests) if row.tests.count(test) > 1] for row in manifest()}
    assert {ident: tests for ident, tests in doubled.items() if tests} == {}


def test_every_test_of_the_manifest_exists() -> None:
    known = all_tests()
    missing = {row.id: [test for test in row.tests if test not in known] for row in manifest()}
    assert {ident: tests for ident, tests in missing.items() if tests} == {}


def test_every_row_that_a_test_says_it_shows_names_that_test() -> None:
    unnamed = [f"{row}: {test}" for test, rows in marked().items() for row in rows if test not in ROWS[row].tests]
    assert unnamed == [], "add them to tests/requirements/manifest.toml"


def test_the_tests_are_found_under_the_names_that_pytest_gives_them(request: pytest.FixtureRequest) -> None:
    """What is read from the sources is what pytest collects: every collected test of the house is among them."""
    collected = {re.sub(r"\[.*", "", item.nodeid) for item in request.session.items}
    ours = {node for node in collected if not node.endswith("::runTest")}  # hypothesis' own class of a machine
    assert ours
    assert ours <= set(all_tests())


def test_the_marks_of_a_test_its_class_and_its_module_all_count(request: pytest.FixtureRequest) -> None:
    known = marked()
    for item in request.session.items:
        rows = {row for mark in item.iter_markers("requirement") for row in mark.args}
        assert rows == set(known.get(re.sub(r"\[.*", "", item.nodeid), ())), item.nodeid


def test_the_page_is_made_from_the_manifest() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python -m docs.guarantees"
