"""What of a client's request is said to a model: headers, and parameters in the query, by their names.

Whatever is not known here is dropped without a word, so that nothing carries a credential, names an account or leads to
another host, also by a name that some provider thinks of tomorrow. What is known says which API is spoken, and which
program and session ask; none of it is needed by all clients. An agent kind may add headers of its own.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from acp_runtime.carrying.headers import PLAIN

__all__ = ["HEADERS", "known_query"]

_ANTHROPIC: Final = (
    *(b"anthropic-beta", b"anthropic-dangerous-direct-browser-access", b"anthropic-version"),
    *(b"x-app", b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id", b"x-claude-code-session-id"),
)
_OPENAI: Final = (
    *(b"idempotency-key", b"openai-beta", b"originator", b"version", b"x-responsesapi-include-timing-metrics"),
    *(b"conversation_id", b"session_id", b"session-id", b"thread_id", b"thread-id"),
    *(b"x-codex-beta-features", b"x-codex-installation-id", b"x-codex-parent-thread-id", b"x-codex-turn-metadata"),
    *(b"x-codex-turn-state", b"x-codex-window-id", b"x-openai-memgen-request", b"x-openai-subagent"),
)
_GOOGLE: Final = (b"x-goog-api-client", b"x-server-timeout")
_COPILOT: Final = (
    *(b"copilot-harness-id", b"copilot-integration-id", b"copilot-vision-request", b"editor-plugin-version"),
    *(b"editor-version", b"openai-intent", b"x-agent-task-id", b"x-client-machine-id", b"x-client-session-id"),
    *(b"x-github-api-version", b"x-initiator", b"x-interaction-id", b"x-interaction-type"),
)
# Of the libraries that the vendors' own are made by, of providers that serve many models, and of traces.
_COMMON: Final = (
    *(b"x-stainless-arch", b"x-stainless-async", b"x-stainless-helper", b"x-stainless-helper-method"),
    *(b"x-stainless-lang", b"x-stainless-os", b"x-stainless-package-version", b"x-stainless-read-timeout"),
    *(b"x-stainless-retry-count", b"x-stainless-runtime", b"x-stainless-runtime-version", b"x-stainless-timeout"),
    *(b"http-referer", b"x-openrouter-title", b"x-title"),
    *(b"x-parent-session-id", b"x-session-affinity", b"x-session-id"),
    *(b"traceparent", b"tracestate", b"x-client-request-id", b"x-request-id"),
)
HEADERS: Final = PLAIN.union(_ANTHROPIC, _OPENAI, _GOOGLE, _COPILOT, _COMMON)

_PARAMETERS: Final = frozenset(
    (
        *(b"alt", b"api-version", b"beta", b"client_version", b"include", b"include[]", b"starting_after", b"stream"),
        *(b"after", b"after_id", b"before", b"before_id", b"limit", b"order", b"page", b"page_size", b"page_token"),
        *(b"pagesize", b"pagetoken", b"purpose"),
    )
)


def known_query(query: bytes) -> bytes:
    """Return the parameters of a query that are known, as they are written; Google's may stand behind a `$`."""
    parts = re.split(rb"[&;]", query)
    names = [unquote_to_bytes(part.partition(b"=")[0]).lower().removeprefix(b"$") for part in parts]
    return b"&".join(part for part, name in zip(parts, names, strict=True) if name in _PARAMETERS)
