"""The pages say what the code says: diagrams, exit codes, options, targets, paths and links are compared with it."""

import re
import shlex
from pathlib import Path

import pytest

from acp_runtime.cli.parser import build_parser
from docs.diagrams import PAGE, lifecycle, task, with_diagrams

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CLI = ROOT / "docs" / "cli.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("acp_runtime", "sandbox", "images", "docs", "tests", "requirements", ".ci")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_diagrams_are_those_of_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_diagrams(page), "run: .venv/bin/python -m docs.diagrams"
    assert blocks(PAGE, "mermaid") == [f"{each[11:-3]}" for each in (lifecycle(), task())]


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the markers '<!-- lifecycle"):
        with_diagrams("no markers")


def test_every_command_that_the_readme_shows_is_understood() -> None:
    text = "".join(blocks(README, "sh")).replace("\\\n", " ")
    shown = [shlex.split(each, comments=True) for each in re.findall(r"\bsubagents ([a-z][^&)\n]*)", text)]
    assert {words[0] for words in shown} >= {"run", "spawn", "ps", "send", "wait", "logs", "answer", "stop", "resume"}
    for words in shown:
        assert build_parser().parse_args(words).verb == words[0]


def test_every_option_in_the_readmes_table_is_known_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    options = re.findall(r"^\| `(--[a-z-]+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    with pytest.raises(SystemExit):
        build_parser().parse_args(["run", "--help"])
    usage = capsys.readouterr().out
    assert options
    assert [each for each in options if f" {each} " not in usage] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)`", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [README, PAGE, CLI, *DECISIONS], ids=lambda page: page.name)
def test_every_file_of_the_project_that_a_page_names_exists(page: Path) -> None:
    """A name stands for any file whose path ends so: `core/tables.py` for `acp_runtime/core/tables.py`."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    known = tuple(f"/{path.relative_to(ROOT).as_posix()}" for path in found)
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"`([a-z_][\w./-]*\.(?:py|c|json|toml|md|sql))`", text)
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


def test_the_pages_keep_to_their_length() -> None:
    lengths = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert lengths["README.md"] <= 200
    assert lengths["architecture.md"] <= 250
    assert [page.name for page in DECISIONS if lengths[page.name] > 40] == []


def test_the_decisions_are_numbered_and_have_the_same_parts() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {page.name[:4]} .+\n\nStatus: .+ Date: \d{{4}}-\d\d-\d\d\.\n", text), page.name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives rejected"], page.name
