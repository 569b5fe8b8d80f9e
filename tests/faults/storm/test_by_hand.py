"""What a storm that somebody asks for by hand takes."""

import pytest

from tests.faults.storm.__main__ import given


def test_a_storm_by_hand_tells_what_it_takes_and_refuses_another_victim(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (["--help"], "manager-kill"), (["1", "2", "--only=agent-kill,nobody"], "no such victim: nobody"):
        with pytest.raises(SystemExit):
            given(words)
        told = capsys.readouterr()
        assert said in (told.out + told.err).replace("\n", " ")
    assert given(["1", "2", "--only=agent-kill,host"]).only == {"agent-kill", "host"}
