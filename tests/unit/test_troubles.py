"""Every kind of error that the sources know has a row in the table of troubles, and every row is still needed."""

from acp_runtime.cli.exit_codes import ENGINE_KINDS
from acp_runtime.troubles import AREAS, TROUBLES
from docs.troubles import PAGE, page
from tests.unit.kinds import kinds


def test_every_kind_that_can_be_raised_or_returned_has_a_row() -> None:
    missing = {kind: places for kind, places in kinds().items() if kind not in TROUBLES}
    assert missing == {}, "add rows to acp_runtime/troubles"


def test_no_row_tells_of_a_kind_that_nothing_raises() -> None:
    assert sorted(set(TROUBLES) - set(kinds())) == []


def test_the_scan_finds_kinds_of_each_sort() -> None:
    found = kinds()
    for kind in ("queue_full", "store_owned", "channel_stalled", "runtime_dir", "login_needed", "manager_ended"):
        assert kind in found, kind
    assert {"unknown_tool", "version_mismatch", "upstream_silent", "config_error", "cancel_ignored"} <= set(found)


def test_the_kinds_by_which_the_exit_code_is_chosen_exist() -> None:
    assert sorted(ENGINE_KINDS - set(TROUBLES)) == []


def test_each_row_is_whole_and_stands_once() -> None:
    rows = [row for area in AREAS for row in area.rows]
    assert len(rows) == len(TROUBLES)
    for row in rows:
        for text in (row.meaning, row.cause, row.remedy):
            assert text.strip(), row.kind
            assert not set("|\n") & set(text), row.kind
            assert not text.endswith("."), row.kind


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python -m docs.troubles"
