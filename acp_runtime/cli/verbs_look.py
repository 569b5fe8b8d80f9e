"""Verbs that look: ps, show, poll, nudges, work, search, df."""

import argparse
import base64
import json
from collections.abc import Iterable
from typing import Any, Final

from acp_runtime.cli.asking import OVER, Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.questions import question_lines
from acp_runtime.cli.status import unhealthy
from acp_runtime.cli.stdout import flush, put, put_json, write_bytes
from acp_runtime.cli.table import table
from acp_runtime.cli.talk import Talk
from acp_runtime.cli.usage import told
from acp_runtime.core.budget import Budget, dollars
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line, set_back

MIB: Final = 1024 * 1024
_FACTS: Final = (
    "id", "parent", "status", "unhealthy", "cause", "purpose", "agent", "model", "preset", "runtime", "unsafe",
    "workspace", "cwd", "container", "attempt", "opening", "started_at", "last_activity_at", "idle_timeout_at",
    "max_lifetime_at", "queued", "unread", "granted",
)  # fmt: skip


def ps(options: argparse.Namespace) -> int:
    """List subagents in the order in which they were spawned."""
    views = Asking(options).call("list_subagents", ended=options.all)
    if options.json:
        put_json(*views)
    elif options.quiet:
        for view in views:
            put(view["id"])
    elif views:
        heads = ("NAME", "ID", "STATUS", "AGENT", "STARTED", "UNREAD", "QUEUED", "PURPOSE")
        for line in table(heads, [_row(view) for view in views]):
            put(line)
    else:
        Talk().tell("no subagents" if options.all else "no open subagents (ended ones: subagents ps --all)")
    return Exit.DONE


def _row(view: dict[str, Any]) -> tuple[str, ...]:
    started = view["started_at"][:16].replace("T", " ")
    counts = str(view["unread"] or ""), str(view["queued"] or "")
    status = f"{view['status']} (asks)" if view["requests"] else view["status"]
    return view["name"], view["id"], status, view["agent"], started, *counts, view["purpose"]


def show(options: argparse.Namespace) -> int:
    """Show one subagent with its tasks and what it asks."""
    asking = Asking(options)
    view = asking.status(options.id)
    view["unhealthy"] = unhealthy(asking, view)
    if options.json:
        put_json(view)
        return Exit.DONE
    put(view["name"])
    for name in _FACTS:
        if view[name] not in (None, "", 0, []):
            shown = ", ".join(view[name]) if name in ("unsafe", "granted") else str(view[name])
            put(f"  {name.replace('_', ' '):<17} {one_line(shown, 400)}")
    put(f"  {'used':<17} {told(view['spent'])}")
    if bounds := str(Budget(**view["budget"])):
        put(f"  {'budget':<17} {bounds}")
    for share in view["shares"]:
        put(f"  {share['scope'] + ' budget':<17} {_share(share)}")
    for task in view["tasks"]:
        put(f"task {task['id']}  {_outcome(task)}  {told(task['spent'])}")
        _show_task(task)
    if said := _about_work(view):
        put(f"its work: {said}")
    for line in question_lines(view):
        put(line)
    return Exit.DONE


def _about_work(view: dict[str, Any]) -> str:
    """Say how what it changed is had; empty where there is nothing, or nothing yet."""
    if view["status"] in OVER:
        return f"subagents work {view['id']}" if view["exported"] and view["session_id"] else ""
    if all(task["ended_at"] is None or task["files_changed"] == 0 for task in view["tasks"]):
        return ""
    resumed = f"; to go on then: subagents resume {view['id']} TEXT" if view["keep"] else ""
    return f"a patch when it ends; to end it: subagents stop {view['id']}{resumed}"


def _show_task(task: dict[str, Any]) -> None:
    put(f"  {one_line(task['text'], 400)}")
    for label, text in (
        ("", task["cause"] or task["trouble"]),
        ("it reports: ", task["report"]),
        ("it said: ", task["result"]),
    ):
        if text:
            put(f"  {label}{one_line(text, 1000 if label else 400)}")


def _share(share: dict[str, Any]) -> str:
    """Return the bounds of a tree or a parent, and how far all who share them have come."""
    parts = []
    if bounds := str(Budget(**share["budget"])):
        parts.append(f"{bounds} (used: {share['tokens_used']:,} tokens, {dollars(share['cost_used'])})")
    if share["agents"] is not None:
        parts.append(f"{share['agents']:,} agents ({share['agents_had']:,} had)")
    if share["wall"] is not None:
        parts.append(f"{share['wall']:g} s ({share['seconds']:.0f} s gone)")
    return "; ".join(parts)


def _outcome(task: dict[str, Any]) -> str:
    verdict = f" ({task['verdict']})" if task["verdict"] not in (None, "full") else ""
    return str(task["state"]).replace("_", " ") + verdict


def poll(options: argparse.Namespace) -> int:
    """Print what a subagent said and did: what is unread, or what comes after a cursor."""
    asking = Asking(options)
    given = {} if options.since is None else {"since": options.since}
    page = asking.call("poll", subagent=asking.find(options.id), limit=options.limit, **given)
    if options.json:
        put_json(*page["rows"])
    else:
        put_events(page["rows"])
    if page["expired"]:
        Talk().tell("the log before this was deleted; what is left begins here")
    if page["unread"] and not options.quiet:
        Talk().tell(f"{page['unread']} more: subagents poll {options.id} --since {page['next_seq']}")
    return Exit.DONE


def put_events(rows: Iterable[dict[str, Any]], *, live: bool = False) -> None:
    """Write events for people, where `live` each at once; those without a word for them, as counts of tokens, not."""
    for row in rows:
        if row["text"].strip():
            put(_event_line(row))
            if live:
                flush()


def _event_line(row: dict[str, Any]) -> str:
    """Return one event as people read it; no line of what an agent says begins as the line of an event does."""
    if row["kind"] in ("agent_message_chunk", "message"):
        return set_back(str(row["text"]))
    return f"[{row['kind']}] {one_line(row['text'], 500)}"


def nudges(options: argparse.Namespace) -> int:
    """List what parents are to be told, and how far it got; with `--revive`, offer a dead letter again."""
    if options.revive is not None:
        Asking(options).call("revive", nudge=options.revive)
        Talk().tell(f"{options.revive} is offered to its parent again")
        return Exit.DONE
    given = {} if options.state is None else {"state": options.state}
    found = Asking(options).call("nudges", limit=options.limit, **given)
    if options.json:
        put_json(*found)
    elif found:
        names = ("id", "state", "kind", "name")
        rows = [(*(each[name] for name in names), each["created_at"][:16], _told(each)) for each in found]
        for line in table(("ID", "STATE", "KIND", "NAME", "CREATED", "WHAT"), rows):
            put(line)
    else:
        Talk().tell("no nudges")
    return Exit.DONE


def _told(nudge: dict[str, Any]) -> str:
    return f"{nudge['headline']}: {nudge['cause']}" if nudge["cause"] else str(nudge["headline"])


def work(options: argparse.Namespace) -> int:
    """Print the patch of what an ended subagent changed; what it does not hold is told."""
    asking = Asking(options)
    view = asking.status(options.id)
    found = asking.call("work", subagent=view["id"])
    if found is None:
        why = "its work could not be exported" if not view["exported"] else _no_work(view)
        raise Rejected("no_work", f"there is no work of {view['name']}, which is {view['status']}: {why}")
    patch = base64.urlsafe_b64decode(found.pop("patch"))
    if options.json:
        put_json(found | _patch(patch))
        return Exit.DONE
    write_bytes(patch)
    nothing = () if patch else (f"{view['name']} changed no files",)
    for sentence in () if options.quiet else (*nothing, *found["notices"]):
        Talk().tell(sentence)
    return Exit.DONE


def _no_work(view: dict[str, Any]) -> str:
    if view["status"] in OVER:
        return "it ended before it had a session"
    return f"it exports its work when it ends; to end it: subagents stop {view['id']}"


def _patch(patch: bytes) -> dict[str, str]:
    try:
        return {"patch": patch.decode()}
    except UnicodeDecodeError:
        return {"patch_base64": base64.b64encode(patch).decode()}


def search(options: argparse.Namespace) -> int:
    """Print where words stand in tasks, results and transcripts, best first."""
    hits = Asking(options).call("search", query=options.query, limit=options.limit)
    if options.json:
        put_json(*hits)
        return Exit.DONE
    for line in table(("NAME", "TASK", "WHERE", "TEXT"), [_hit(each) for each in hits]) if hits else []:
        put(line)
    if not hits:
        Talk().tell("nothing was found")
    return Exit.DONE


def _hit(hit: dict[str, Any]) -> tuple[str, str, str, str]:
    return hit["name"], hit["task"] or hit["subagent"], hit["where"], hit["snippet"]


def df(options: argparse.Namespace) -> int:
    """Print what the store holds and how much disk it takes."""
    disk = Asking(options).call("disk")
    if options.json:
        put(json.dumps(disk))
        return Exit.DONE
    for name, value in disk.items():
        shown = f"{value / MIB:.1f} MiB" if name.endswith("_bytes") else str(value)
        put(f"{name.removesuffix('_bytes').replace('_', ' '):<16} {shown}")
    return Exit.DONE
