"""The judge as a table: what agents answer, and what it is told as."""

import pytest

from acp_runtime.core.model import Evidence, TaskState, Verdict
from acp_runtime.core.outcome import judge, worth_retrying

DONE, FAILED, REFUSED = TaskState.COMPLETED, TaskState.FAILED, TaskState.REFUSED
FULL, EMPTY, SUSPECT = Verdict.FULL, Verdict.EMPTY, Verdict.SUSPECT
WORKED, BROKE, BEGUN = ("t1", "completed"), ("t2", "failed"), ("t3", "in_progress")


def left(text: str = "", *tools: tuple[str, str], files: int | None = 0, skipped: int = 0, lost: int = 0) -> Evidence:
    return Evidence(text=text, tools=tools, files_changed=files, skipped_lines=skipped, lost_parts=lost)


@pytest.mark.parametrize(
    ("reason", "outcome", "verdict", "words"),
    [
        ("end_turn", DONE, FULL, "ended its turn"),
        ("refusal", REFUSED, None, "refused"),
        ("cancelled", TaskState.CANCELLED, None, "nobody asked"),
        ("max_tokens", FAILED, None, "token limit"),
        ("max_turn_requests", FAILED, None, "limit of model requests"),
        ("made_up", DONE, SUSPECT, "'made_up'"),
        ("", DONE, SUSPECT, "''"),
        ("END_TURN", DONE, SUSPECT, "'END_TURN'"),
        ("x" * 100, DONE, SUSPECT, "x" * 40 + "'"),
    ],
)
def test_stop_reasons_are_told_apart_one_by_one(
    reason: str, outcome: TaskState, verdict: Verdict | None, words: str
) -> None:
    judged = judge(reason, left("All is well.", WORKED, files=3))
    assert (judged.outcome, judged.verdict) == (outcome, verdict)
    assert words in judged.cause


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (left("I made it."), FULL),
        (left("", WORKED), FULL),
        (left("", files=1), FULL),
        (left("", BROKE, WORKED), FULL),
        (left("I made it.", BROKE, files=1), FULL),
        (left(), EMPTY),
        (left(" \n\t "), EMPTY),
        (left("", BEGUN), EMPTY),
        (left("", files=None), EMPTY),
        (left("It did not work.", BROKE), SUSPECT),
        (left("", BROKE, ("t4", "failed")), SUSPECT),
        (left("", BROKE, BEGUN), SUSPECT),
        (left("I made it.", WORKED, files=2, skipped=1), SUSPECT),
        (left("I made it.", BROKE, files=None), SUSPECT),
    ],
)
def test_an_end_of_turn_is_worth_what_it_left_behind(evidence: Evidence, verdict: Verdict) -> None:
    judged = judge("end_turn", evidence)
    assert (judged.outcome, judged.verdict) == (DONE, verdict), judged.cause


@pytest.mark.parametrize(
    "text",
    [
        "Error: 400 Bad Request",
        'API Error: 401 {"type":"error"}',
        "**Error**: 429 rate limited",
        '{"error": {"message": "no such model", "type": "invalid_request_error"}}',
        "exceeded retry limit, last status: 429 Too Many Requests",
        "unexpected status 503 Service Unavailable: try later",
        "Failed to call the model: 503 Service Unavailable",
        "HTTP 500 from the provider",
        "API call failed after 3 retries",
        "error 404",
    ],
)
def test_an_answer_that_is_only_a_provider_error_is_suspect_unless_something_was_done(text: str) -> None:
    assert judge("end_turn", left(text)).verdict is SUSPECT
    assert judge("end_turn", left(text, WORKED)).verdict is FULL
    assert judge("end_turn", left(text, files=1)).verdict is FULL


@pytest.mark.parametrize(
    "text",
    [
        "I fixed the error: the server answered 400 before.",
        "The cause of Error: 400 is a missing header.",
        "Error handling is done in 3 files.",
        "Errors are now told in one sentence.",
        "Http clients should retry.",
        'The answer is {"error": null}.',
        "It exceeded retry limits, so I raised them.",
        "Line 404 holds the error.",
        "Failed tests: none.",
    ],
)
def test_an_answer_about_an_error_stays_a_full_one(text: str) -> None:
    assert judge("end_turn", left(text)).verdict is FULL


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("", True),
        ("API Error: Request rejected (429) · overloaded", True),
        ("API Error: 500 Internal server error. Try again in a moment.", True),
        ("I looked at the file.", False),
        ("I looked at the file.\n\nAPI Error: 500 Internal server error.", False),
    ],
)
def test_a_prompt_is_given_again_only_when_nothing_but_the_providers_error_was_said(text: str, again: bool) -> None:
    failed = "the agent answered session/prompt with an error (code -32603): API Error: 500"
    assert worth_retrying(failed, left(text), 0) is again
    assert not worth_retrying(failed, left(text, WORKED), 0)
    assert not worth_retrying(failed, left(text), 1)
    assert not worth_retrying("the agent answered session/prompt with an error: no such model", left(text), 0)


def test_the_number_of_failed_calls_and_of_messages_that_were_not_read_is_told() -> None:
    assert "all 2 tool call(s) failed" in judge("end_turn", left("", BROKE, ("t4", "failed"))).cause
    assert judge("end_turn", left("ok", skipped=3)).cause.startswith("3 message(s)")
    assert judge("end_turn", left("ok", lost=2)).cause.startswith("2 part(s) of what the agent wrote were lost")


def test_a_cause_without_a_status_may_say_that_it_passes() -> None:
    """What Codex says after an HTTP 500."""
    said = "the agent says that its turn failed: We're experiencing high demand, which may cause temporary errors."
    assert worth_retrying(said, left(""), 0)
