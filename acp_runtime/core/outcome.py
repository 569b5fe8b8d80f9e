"""How the answer to a prompt is judged: stop reasons one by one, and evidence for `end_turn`.

`end_turn` alone is no success: several agents answer it when their model failed or when every tool call failed, some
with no text at all (facts: the support matrix in README.md names them).
"""

import re
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.model import Evidence, TaskState, Verdict

# The opening words with which agents report a failed model call as if it were their answer. Anchored at the start and
# only looked for when nothing else was done, so an answer *about* an error stays a full one.
PROVIDER_ERROR: Final = re.compile(
    r"\A\W{0,4}(?:api )?(?:error|failed|http)\b[^\n]{0,40}\b[45]\d\d\b|\A\W{0,4}(?:api call failed|http [45]\d\d)"
    r'|\A\s*\{\s*"error"\s*:|\Aexceeded retry limit\b|\Aunexpected status [45]\d\d\b',
    re.IGNORECASE,
)


# What a model's provider answers when the same request may go well a little later.
TRANSIENT: Final = re.compile(
    r"\b(?:408|409|425|429|5\d\d)\b|rate.?limit|overloaded|too many requests|timed?.?out|temporar(?:y|ily)|unavailable"
    r"|connection (?:error|reset|refused)|ECONN\w+|socket hang up",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a task's answer amounts to, with one sentence that says why."""

    outcome: TaskState
    verdict: Verdict | None
    cause: str


_FAILED_REASONS: Final = {
    "max_tokens": "the agent stopped at its token limit before it had finished",
    "max_turn_requests": "the agent stopped at its limit of model requests before it had finished",
}


def judge(stop_reason: str, evidence: Evidence) -> Judgement:
    """Return the outcome of a prompt that nobody cancelled. `evidence` already holds the files changed."""
    match stop_reason:
        case "end_turn":
            return _judge_completion(evidence)
        case "refusal":
            return Judgement(TaskState.REFUSED, None, "the agent refused the task")
        case "cancelled":
            return Judgement(TaskState.CANCELLED, None, "the agent answered cancelled although nobody asked it to")
        case _ if stop_reason in _FAILED_REASONS:
            return Judgement(TaskState.FAILED, None, _FAILED_REASONS[stop_reason])
        case _:
            why = f"the agent ended with a stop reason that ACP does not know: {stop_reason[:40]!r}"
            return Judgement(TaskState.COMPLETED, Verdict.SUSPECT, why)


def worth_retrying(cause: str, evidence: Evidence, files_changed: int | None) -> bool:
    """Return whether a failed prompt may be given again: nothing was produced, and its cause may pass.

    Some agents say the provider's error as if it were their answer before they fail with it: that is no product.
    """
    said = evidence.text.strip() and PROVIDER_ERROR.search(evidence.text) is None
    produced = said or evidence.tools or files_changed
    return not produced and TRANSIENT.search(cause) is not None


def _judge_completion(evidence: Evidence) -> Judgement:
    done, failed = evidence.count("completed"), evidence.count("failed")
    changed = bool(evidence.files_changed)
    if evidence.lost_parts:
        why = f"{evidence.lost_parts} part(s) of what the agent wrote were lost before they could be read"
        return Judgement(TaskState.COMPLETED, Verdict.SUSPECT, why)
    if evidence.skipped_lines:
        why = f"{evidence.skipped_lines} message(s) of the agent were over the size limit and could not be read"
        return Judgement(TaskState.COMPLETED, Verdict.SUSPECT, why)
    if failed and not done and not changed:
        return Judgement(TaskState.COMPLETED, Verdict.SUSPECT, f"all {failed} tool call(s) failed")
    if not done and not changed and PROVIDER_ERROR.search(evidence.text):
        return Judgement(TaskState.COMPLETED, Verdict.SUSPECT, "the answer reads like an error of the model provider")
    if not evidence.text.strip() and not done and not changed:
        return Judgement(TaskState.COMPLETED, Verdict.EMPTY, "no text, no tool call that worked, no changed file")
    return Judgement(TaskState.COMPLETED, Verdict.FULL, "the agent ended its turn")
