"""Names and counts in sentences."""

import pytest

from sandbox.errors import WorkspaceError
from sandbox.workspace.found import sections
from sandbox.workspace.obeyed import cautions
from sandbox.workspace.survey import refused_by_git
from sandbox.workspace.text import last_line, named, shown, size


def test_what_is_shown_cannot_steer_a_terminal():
    assert shown(b"\x1b[31mred\n\xff") == "?[31mred?\N{REPLACEMENT CHARACTER}"
    assert shown("right\N{RIGHT-TO-LEFT OVERRIDE}left\udcff") == "right?left?"
    assert len(shown("x" * 1000)) == 300


def test_the_last_line_with_words_is_the_reason():
    assert last_line(b"first\nfatal: \x07no\n \n") == "fatal: ?no"
    assert last_line(b"\n") == "it said nothing"


def test_the_first_five_names_are_told_once_each_and_in_order():
    assert named([b"b", b"a", b"b"]) == "a, b"
    assert named([b"%d" % number for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 21, "2.0 MiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes_are_written_for_people(count, text):
    assert size(count) == text


@pytest.mark.parametrize("name", [b".git", b".GIT", b"git~1", b".git .", b".git::$INDEX", b"x\\.git", b"GIT~1\\config"])
@pytest.mark.parametrize("unseen", [b"", "\u200c".encode(), "\ufeff".encode(), "\u206f".encode()])
def test_names_that_some_system_takes_for_a_repository_are_refused(name, unseen):
    assert refused_by_git(name[:2] + unseen + name[2:] + unseen, is_link=False)


@pytest.mark.parametrize(
    "name", [b".gitignore", b"git", b"a.git", b".git2", b"git~2", b".git\n", b".gitmodules", "\u2030.git".encode()]
)
def test_other_names_are_not_refused(name):
    assert not refused_by_git(name, is_link=False)


@pytest.mark.parametrize("name", [b".gitmodules", b".GitModules ", b"GITMOD~2", b"gi7eba~1"])
def test_links_that_some_system_takes_for_submodules_are_refused(name):
    assert refused_by_git(name, is_link=True)


def test_lists_keep_apart_also_when_they_are_empty():
    assert sections(b"", 1) == [[]]
    assert sections(b"a\0b\0", 1) == [[b"a", b"b"]]
    assert sections(b"\0\0", 3) == [[], [], []]
    assert sections(b"a\0\0\0b\0", 3) == [[b"a"], [], [b"b"]]


@pytest.mark.parametrize("broken", [b"a", b"a\0\0", b"a\0b"])
def test_a_list_that_broke_off_is_an_error(broken):
    with pytest.raises(WorkspaceError):
        sections(broken, 1)


def test_a_removed_file_needs_no_caution():
    gone = b":100644 000000 1 0 D"
    assert cautions({b".envrc": gone, b"bare/HEAD": gone, b"bare/config": gone}) == ()


@pytest.mark.parametrize(
    "path", [".VSCODE/tasks.json", ".v\u017fcode/x", "a/.EnvRC", ".gemini/settings.json", "GEMINI.md"]
)
def test_what_a_file_system_may_take_for_a_name_that_tools_obey_is_pointed_out(path):
    made = b":000000 100644 0 1 A"
    assert len(cautions({path.encode(): made})) == 1
    assert cautions({b"b/Head": made, b"b/CONFIG": made}) == (
        "Read these before you use the folder, for tools obey them unasked: b/.",
    )
    assert cautions({b"vscode/x": made, b"\xff.envrc": made, b"b/HEAD": made, b"c/config": made}) == ()
