"""Which module holds which verb: only the one that is called is loaded."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, cast

_MODULES: Final = {
    "run": ("run",),
    "serve": ("serve",),
    "verbs_look": ("ps", "show", "poll", "nudges", "work", "search", "df"),
    "verbs_act": ("spawn", "send", "resume", "answer", "stop", "rm", "prune", "turn"),
    "verbs_wait": ("wait",),
    "usage": ("usage",),
    "verbs_budget": ("budget",),
    "reached": ("reached",),
    "allowed": ("allowed",),
    "reload": ("reload",),
    "status": ("status",),
    "tree": ("tree", "pause"),
    "reap": ("reap",),
    "logs": ("logs",),
    "verbs_config": ("config",),
    "attach": ("attach",),
    "acp": ("acp",),
    "top": ("top",),
    "completion": ("completion",),
    "doctor": ("doctor",),
    "mcp": ("mcp",),
    "hook": ("hook",),
}


def function_of(verb: str) -> Callable[[Any], int]:
    """Return what a verb does: takes the options, returns the exit code."""
    module = next(module for module, verbs in _MODULES.items() if verb in verbs)
    return cast(Callable[[Any], int], getattr(import_module(f"acp_runtime.cli.{module}"), verb))
