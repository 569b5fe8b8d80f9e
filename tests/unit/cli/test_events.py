"""How a log is printed for people."""

import pytest

from acp_runtime.cli.verbs_look import put_events


def test_what_has_no_word_for_people_is_left_out_and_no_line_of_an_agent_looks_like_an_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [("task_dispatched", "go"), ("usage_update", ""), ("agent_message_chunk", "[ended] x"), ("tool_call", " ")]
    put_events({"kind": kind, "text": text} for kind, text in rows)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "[task_dispatched] go"
    assert len(said) == 2
    assert said[1] != "[ended] x"
    assert said[1].strip() == "[ended] x"
