"""The command line: one line of help for each verb, and what is told of one that cannot be understood."""

import re

import pytest

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.main import main
from acp_runtime.cli.mistaken import _ELSEWHERE
from acp_runtime.cli.parser import build_parser, verbs_of


def test_the_help_has_one_line_for_each_verb_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    shown = capsys.readouterr().out.partition("  VERB\n")[2].partition("\n\n")[0].splitlines()
    assert [re.match(r"    ([a-z]+) +[A-Za-z]", line)[1] for line in shown] == list(verbs_of(build_parser()))  # type: ignore[index]


@pytest.mark.parametrize("verb", verbs_of(build_parser()))
def test_the_help_of_a_verb_says_what_each_word_and_option_is(verb: str) -> None:
    parser = verbs_of(build_parser())[verb]
    assert [each.dest for each in parser._actions if not each.help] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runn", "x"], "subagents: there is no verb 'runn'; did you mean run?"),
        (["qqq"], "subagents: there is no verb 'qqq'\n"),
        (["diff", "x"], "subagents: there is no verb 'diff'; did you mean work?"),
        (["--config=sk-canary", "ps"], "subagents: option --config stands before the verb; options come after it"),
        (["-q", "ps"], "subagents: option -q stands before the verb; options come after it"),
        (["ps", "--jsn"], "subagents ps: unknown option --jsn; did you mean --json?"),
        (["spawn", "x", "--zz=sk-canary"], "subagents spawn: unknown option --zz\n"),
        (["ps", "all"], "subagents ps: 'all' is one argument too many"),
        (["send", "id", "two", "words"], "subagents send: the task is one argument; put it in quotes"),
        (["--versio"], "subagents: unknown option --versio; did you mean --version?"),
    ],
)
def test_a_command_line_that_is_not_understood_is_told_with_what_was_meant(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr().err
    assert ended.value.code == Exit.USAGE
    assert told.startswith(sentence)
    assert "sk-canary" not in told


def test_what_other_programs_call_a_verb_leads_to_one_that_there_is() -> None:
    verbs = {*verbs_of(build_parser()), "--version"}
    assert {*_ELSEWHERE.values()} <= verbs
    assert not verbs & {*_ELSEWHERE}


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["bg-1", "allow", "--request", "e1"], "allow"),
        (["bg-1", "--request", "e1", "allow"], "allow"),
        (["--request", "e1", "bg-1", "allow"], "allow"),
        (["bg-1", "--request", "e1"], ""),
    ],
)
def test_an_option_may_stand_between_the_words_of_a_verb(words: list[str], option: str) -> None:
    read = build_parser().parse_args(["answer", *words])
    assert (read.id, read.option, read.request) == ("bg-1", option, "e1")
