"""Verbs that act: spawn, send, answer, stop, resume, rm, prune, turn."""

import argparse
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from acp_runtime.cli.asking import OVER, Asking, exit_of
from acp_runtime.cli.budget import budget_of
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line

DAY: Final = 86_400
SCHEMA_BYTES: Final = 262_144  # what the daemon keeps is shorter; this bounds what is read
Done = tuple[dict[str, Any], str]  # what a program gets, and a person
_WISHES: Final = (
    "purpose",
    "cwd",
    "role",
    "preset",
    "image",
    "model",
    "model_url",
    "model_key",
    "permissions",
    "questions",
    "memory",
    "pids",
    "runtime",
)


def spawn(options: argparse.Namespace) -> int:
    """Start a subagent with its first task and return at once."""
    request: dict[str, Any] = {
        "agent": options.agent or "",
        "workspace": str(Path(options.workspace).absolute()),
        "task": options.task,
        "keep": not options.one_shot,
        "one_shot": options.one_shot,
        "egress": options.egress,
        "registries": options.registry,
    }
    request |= {name: value for name in _WISHES if (value := getattr(options, name)) is not None}
    if options.result_schema is not None:
        request["result_schema"] = _schema(options.result_schema)
    request["budget"] = asdict(budget_of(options))
    view = Asking(options).call("spawn", request=request)
    note = f"; {view['role_note']}" if view["role_note"] else ""
    _shown(options, view, f"{view['name']} ({view['id']}) is starting{note}")
    return Exit.DONE


def _schema(name: str) -> dict[str, Any]:
    """Return the JSON schema in a file; whether it is one is looked at by the daemon. Raises `Rejected` (invalid)."""
    shown = one_line(name, 200)
    try:
        with Path(name).open("rb") as file:
            text = file.read(SCHEMA_BYTES + 1)
        found = json.loads(text) if len(text) <= SCHEMA_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        why = one_line(getattr(error, "strerror", None) or str(error), 200)
        raise Rejected("invalid", f"--result-schema {shown!r} cannot be read as JSON: {why}") from error
    if not isinstance(found, dict):
        raise Rejected("invalid", f"--result-schema {shown!r} is no JSON object of at most {SCHEMA_BYTES} bytes")
    return found


def _shown(options: argparse.Namespace, view: dict[str, Any], sentence: str) -> None:
    """Put the id, or the whole view, and say the sentence."""
    if options.json:
        put_json(view)
        return
    put(view["id"])
    if not options.quiet:
        Talk().tell(sentence)


def send(options: argparse.Namespace) -> int:
    """Give a subagent another task, or a message for the running one."""
    asking = Asking(options)
    mode = "steer" if options.steer else "queue"
    sent = asking.call("send", subagent=asking.find(options.id), text=options.text, mode=mode)
    if options.json:
        put_json({name: sent[name] for name in ("outcome", "queued", "sentence")})
    elif not options.quiet:
        Talk().tell(sent["sentence"])
    return Exit.DONE


def resume(options: argparse.Namespace) -> int:
    """Start an ended subagent again on what was kept of it."""
    asking = Asking(options)
    view = asking.call("resume", subagent=asking.find(options.id), text=options.text)
    _shown(options, view, f"{view['name']} is starting again")
    return Exit.DONE


def answer(options: argparse.Namespace) -> int:
    """Answer an open question; which one need not be said when there is one."""
    asking = Asking(options)
    view = asking.status(options.id)
    open_ones = [each["id"] for each in view["requests"]]
    if options.request is None and len(open_ones) != 1:
        names = ", ".join(open_ones)
        if not open_ones:
            raise Rejected("request_closed", f"{view['name']} asks nothing; nothing was answered")
        sentence = f"{view['name']} has {len(open_ones)} open questions ({names}); name one with --request"
        raise Rejected("invalid", sentence)
    request = options.request or open_ones[0]
    view = asking.call("answer", subagent=view["id"], request=request, option=options.option, text=options.text)
    if options.json:
        put_json(view)
    return Exit.DONE


def stop(options: argparse.Namespace) -> int:
    """Stop subagents, or cancel their running tasks."""
    return _each(options, _stop_one)


def _stop_one(asking: Asking, options: argparse.Namespace, subagent: str) -> Done:
    if options.task:
        view = asking.call("cancel", subagent=subagent, cause=options.reason)
        return view, f"{view['name']}: its task is being cancelled"
    view = asking.call("stop", subagent=subagent, reason=options.reason)
    unsure = "" if view["confirmed"] else "; its removal could not be confirmed and is tried again"
    kept = "" if view["exported"] else "; its work could not be exported and is kept"
    return view, f"{view['name']}: {view['status']}{unsure}{kept}"


def rm(options: argparse.Namespace) -> int:
    """Delete what is left of ended subagents."""
    return _each(options, _remove_one)


def _remove_one(asking: Asking, options: argparse.Namespace, subagent: str) -> Done:
    if options.force:
        asking.call("stop", subagent=subagent)
    asking.call("remove", subagent=subagent)
    return {"id": subagent, "removed": True}, f"{subagent}: removed"


def _each(options: argparse.Namespace, verb: Callable[[Asking, argparse.Namespace, str], Done]) -> int:
    """Do the verb for each subagent that was named; a failure of one is told and costs the others nothing."""
    asking, talk, worst = Asking(options), Talk(quiet=options.quiet), Exit.DONE
    for wanted in options.ids:
        try:
            found, sentence = verb(asking, options, asking.find(wanted))
            if options.json:
                put_json(found)
            else:
                talk.say(sentence)
        except Rejected as error:
            talk.tell(f"subagents {options.verb}: {error}")
            worst = max(worst, exit_of(error))
    return worst


def prune(options: argparse.Namespace) -> int:
    """Delete what is left of subagents that ended long ago and have nothing to tell."""
    if not options.older_than >= 0:
        raise Rejected("invalid", f"--older-than is {options.older_than:g}; give a number of days that is not negative")
    asking = Asking(options)
    pruned = asking.call("prune", older_than=options.older_than * DAY, dry_run=options.dry_run)
    if options.json:
        put_json(pruned)
        return Exit.DONE
    for subagent in pruned["subagents"]:
        put(subagent)
    if not options.quiet:
        verb = "would be removed" if options.dry_run else "removed"
        Talk().tell(f"{len(pruned['subagents'])} {verb}, about {pruned['bytes'] / 1024 / 1024:.1f} MiB")
        ended = sum(view["status"] in OVER for view in asking.call("list_subagents", ended=True))
        if left := ended - options.dry_run * len(pruned["subagents"]):
            Talk().tell(f"{left} stay: too young, not exported, or of a parent that was not told (subagents nudges)")
    return Exit.DONE


def turn(options: argparse.Namespace) -> int:
    """Print the block of a parent's turn, or acknowledge one."""
    asking = Asking(options)
    if options.commit is not None:
        asking.bare("commit_turn", token=options.commit)
        return Exit.DONE
    if asking.parent is None:
        raise Rejected("invalid", "a turn is a parent's: name it with --parent")
    turn_id = options.turn_id or f"cli-{os.getpid()}-{secrets.token_hex(4)}"
    context = asking.call("begin_turn", door=options.door, turn_id=turn_id)
    if options.json:
        put_json(context)
        return Exit.DONE
    if context["text"]:
        put(context["text"])
    if not options.quiet:
        Talk().tell(f"acknowledge it with: subagents turn --commit {context['token']}")
    return Exit.DONE
