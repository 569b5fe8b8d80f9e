"""The scripted model: a model server whose answers are written in the prompt.

It stands behind real coding agents in tests and in the demo, where a real model would be slow, costly and different
each time. It speaks OpenAI chat-completions, OpenAI responses, Anthropic messages and Gemini's generateContent
(streaming and not, with tool calls) over TCP loopback or a unix socket, and needs nothing but the standard library.

    python -m tests.agents.scripted_model --port 0            prints: listening on http://127.0.0.1:41234/v1
    python -m tests.agents.scripted_model --unix /run/x.sock  prints: listening on unix:/run/x.sock

    with ScriptedModel() as model:                            in a test: .base_url, .requests, .wait_for()
        ...

The language. Directives stand anywhere in a user message and are played in order; other text is ignored.

    [[write:PATH|TEXT]]        call the agent's tool that writes a file
    [[edit:PATH|OLD|NEW]]      call the agent's tool that replaces text in a file
    [[shell:CMD]]              call the agent's tool that runs a command
    [[call:NAME|JSON]]         call the agent's tool of this name, with these arguments (`call` writes it)
    [[text:TEXT]]              say TEXT
    [[stream:N|MS]]            say N numbered words, MS milliseconds before each
    [[sleep:S]]                be silent for S seconds
    [[fail:CODE]]              answer with this HTTP status, every time
    [[fail:CODE|TIMES]]        answer with it TIMES times, then go on

A tool call ends a *round*: one request of the agent is answered with one round. The server keeps no conversation; the
round is found by counting the tool results after the newest user message that holds a directive. The last round says
`Done.` when the script gives it nothing to say. A fail decides its whole round; only a sleep before it still happens.
TEXT and CMD may hold anything but `]]` (they may end with `]`); PATH and OLD also no `|`. PATH is passed on as it is.

`{{N.key}}` anywhere in a script stands for the value of `key` in the N-th tool result after it, and `{{N}}` for all of
that result: what a call answered can be said, or given to the next call.

A request that offers no tools is an errand of the agent's own (a title, a summary): it gets a short plain text, and so
does one without any directive. A script that cannot be played (no such tool offered, a number that is none) is answered
with a text that says so, because agents hide and retry HTTP errors.
"""

from .script import call
from .server import Recorded, ScriptedModel

__all__ = ["Recorded", "ScriptedModel", "call"]
