"""docs/cli.md says what the command has: options, exit codes, keys of the result."""

import re
from pathlib import Path

import pytest

from acp_runtime.cli.codes import MEANINGS, Exit
from acp_runtime.cli.exit_codes import ENGINE_KINDS
from acp_runtime.cli.parser import build_parser
from sandbox import errors
from tests.e2e.stage import Stage

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table under a heading, by their first cell."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def test_the_page_has_every_exit_code_with_its_meaning():
    assert rows("Exit codes") == {str(code.value): [meaning] for code, meaning in MEANINGS.items()}
    assert set(MEANINGS) == set(Exit)


def test_the_page_shows_every_option(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["run", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out.partition("\noptions:")[0])) - {"--help"}
    shown = set(re.findall(r"--[a-z-]+", PAGE.partition("```")[2].partition("```")[0]))
    assert known == shown


def test_the_page_has_every_key_of_the_result(stage: Stage):
    told = [name for cell in rows("What is put out") for name in re.findall(r"\w+", cell)]
    result = stage.run("[[say:done]]", "--output", "json").lines[-1]
    assert set(told) - {"patch_base64"} == set(result)


def test_every_error_of_the_engine_has_the_exit_code_of_the_engine():
    found, todo = set(), [errors.EngineError, errors.ImageMissing, errors.ProgramMissing]
    for each in todo:
        found.add(each.kind)
        todo += each.__subclasses__()
    assert found - ENGINE_KINDS == set()
