"""What the engine means when it says no: its status and words, as one error of ours."""

from sandbox.errors import CommandMissing, EngineRefused, ImageMissing, NameTaken, SandboxError, SandboxGone

# status (None: any), a piece of the engine's words in lower case, what it means. The first row that fits is told.
_MEANING: tuple[tuple[int | None, str, type[SandboxError]], ...] = (
    (404, "no such image", ImageMissing),
    (None, "pull access denied", ImageMissing),
    (None, "manifest unknown", ImageMissing),
    (None, "manifest for", ImageMissing),
    (None, "executable file not found", CommandMissing),
    (None, "exec format error", CommandMissing),
    (404, "no such container", SandboxGone),
    (404, "no such exec", SandboxGone),
    (404, "no container with", SandboxGone),
    (409, "is not running", SandboxGone),
    (409, "already in use by container", NameTaken),
)


def refusal(status: int, words: str, doing: str) -> SandboxError:
    """Return our error for a status and the engine's own words; `doing` completes "refused to"."""
    sentence = f"The engine refused to {doing}: {words.strip().rstrip('.')} (status {status})."
    low = words.lower()
    for code, piece, kind in _MEANING:
        if code in {None, status} and piece in low:
            return kind(sentence)
    return EngineRefused(sentence, status)
