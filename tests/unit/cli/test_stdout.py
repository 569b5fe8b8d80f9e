"""The one door of lines for people: it holds for text that nobody before it has made harmless."""

import pytest

from acp_runtime.cli.stdout import put


@pytest.mark.requirement("T17")
def test_a_line_for_people_cannot_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    put("said\x1b[2J \x9b1mby \x1b]0;owned\x07an\u202e agent\tin\ntwo lines")
    assert capsys.readouterr().out == "said by an agent\tin\ntwo lines\n"
