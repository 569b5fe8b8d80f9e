"""The page of what is promised against attacks is made from the manifest, and no threat is left out."""

import tomllib
from pathlib import Path

from docs.guarantees import manifest
from docs.security import PAGE, page, words

ROOT = Path(__file__).parents[2]
THREATS = [f"T{number}" for number in range(1, 27)]


def test_every_threat_has_its_words_and_its_row_with_tests() -> None:
    assert list(words()) == THREATS
    shown = {row.id: row.tests for row in manifest() if row.id[0] == "T"}
    assert sorted(shown) == sorted(THREATS)
    assert [ident for ident, tests in shown.items() if not tests] == []
    for ident, said in words().items():
        assert said.threat, ident
        assert said.by.endswith("."), ident
        assert not said.without or said.without.endswith("."), ident


def test_the_page_is_made_from_them() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python -m docs.security"


def test_the_file_that_hosts_look_for_leads_to_the_page() -> None:
    assert "(docs/security.md)" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_guard_that_is_taken_away_names_a_file_that_has_it() -> None:
    """The guards are tried in the long mode; that their text has moved on is seen every day."""
    guards = tomllib.loads((ROOT / "tests" / "mutants" / "guards.toml").read_text(encoding="utf-8"))
    for name, guard in guards.items():
        assert (ROOT / guard["file"]).read_text(encoding="utf-8").count(guard["change"]) == 1, name
        assert guard["change"] != guard["to"], name
        assert all((ROOT / test.partition("::")[0]).is_file() for test in guard["tests"]), name
