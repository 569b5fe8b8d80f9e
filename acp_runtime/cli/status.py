"""`subagents status`: the daemon, its gateway, and what is not well below the subagents."""

import argparse
from typing import Any

from acp_runtime.cli.asking import OVER, Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.core.plaintext import one_line
from acp_runtime.store.disk import LEAST_ROOM

UNHEALTHY = "the relay in its sandbox does not answer the engine: what the agent sends out may not get through"


NO_GATEWAY = "nothing that agents send out is carried, and it is tried again while an agent needs it"


def status(options: argparse.Namespace) -> int:
    """Print a line for each; with `--json` one object for all. Ends with 0 also where something is not well."""
    asking = Asking(options)
    free = asking.call("disk")["disk_free_bytes"]
    found: dict[str, Any] = {"daemon": asking.hello(), **asking.call("grounds"), "disk_free_bytes": free}
    if options.json:
        put_json(found)
        return Exit.DONE
    daemon = found["daemon"]
    put(f"daemon   process {daemon['pid']}, version {daemon['version']}, agents by {daemon['launcher']}")
    if (mcp := daemon.get("mcp")) is not None:
        put(f"mcp      {mcp['url']}, the token is in {mcp['token_file']}")
    if asking.parent is None:
        put(f"gateway  {gateway_words(found['gateway'], found['no_gateway'])}")
    for each in found["unhealthy"]:
        put(f"{each}  unhealthy: {UNHEALTHY}")
    if (free := found["disk_free_bytes"]) < LEAST_ROOM:
        put(f"disk     {free / 1024 / 1024:.1f} MiB free for the store: nothing new is started; make room")
    if found["unknown"]:
        put(f"engine   {one_line(found['unknown'], 400)}")
    return Exit.DONE


def unhealthy(asking: Asking, view: dict[str, Any]) -> str:
    """Say what the engine found of the sandbox of a subagent; empty where that is nothing."""
    found = view["status"] not in OVER and view["id"] in asking.call("grounds")["unhealthy"]
    return UNHEALTHY if found else ""


def gateway_words(seen: dict[str, Any] | None, why_not: str) -> str:
    """Say how the gateway of the daemon's store stands; `why_not`: why it could not be had when it was needed."""
    if why_not:
        return f"{NO_GATEWAY}: {one_line(why_not, 400)}"
    if seen is None:
        return "none runs; the first agent that has a model or a proxy starts it"
    if not seen["answers"]:
        return f"process {seen['pid']} does not answer; it is replaced while an agent needs it"
    what = f"process {seen['pid']}, version {seen['version']}, since {seen['since']}"
    last = seen["last_record"] or "none yet"
    return f"{what}; accounts: {seen['accounts']}, under way: {seen['running']}, last record: {last}"
