"""`subagents reap`: what dead managers left on the engine, found and removed.

The daemon does it when one runs, else this process as the owner of its store for that moment: no agent is taken up,
started or ended for it.
"""

import argparse
from typing import TYPE_CHECKING, Any, Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.callers import OPERATOR
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.table import table
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected

if TYPE_CHECKING:
    from acp_runtime.config import Config
    from acp_runtime.views import Reaped

HEADS: Final = ("ACTION", "KIND", "NAME", "WHY")
REMOVE, REMOVED, FAILED, KEEP = "remove", "removed", "failed", "keep"


def reap(options: argparse.Namespace) -> int:
    """Remove, or with `--dry-run` only tell, what nobody will want any more."""
    wish = {"dry_run": options.dry_run, "volumes_of": list(options.volumes_of)}
    try:
        reaped = UnixClient(start=False).call("reap", OPERATOR, **wish)
    except DaemonError as error:
        if error.kind != "daemon_unreachable":
            raise
        reaped = _without_daemon(wish)
    found = reaped["judgements"]
    if options.json:
        for each in found:
            put_json(each)
    else:
        _show(found if options.all else [each for each in found if each["action"] != KEEP])
    counts = {action: sum(each["action"] == action for each in found) for action in (REMOVE, REMOVED, FAILED)}
    if not options.quiet and not options.json:
        Talk().tell(_sentence(counts, dry_run=options.dry_run))
    return Exit.FAILED if counts[FAILED] else Exit.DONE


def _show(found: list[dict[str, Any]]) -> None:
    if found:
        rows = [(each["action"], each["kind"], each["name"], each["why"]) for each in found]
        put("\n".join(table(HEADS, rows)))


def _sentence(counts: dict[str, int], *, dry_run: bool) -> str:
    if dry_run:
        return f"{counts[REMOVE]} would be removed"
    failed = f", {counts[FAILED]} could not be" if counts[FAILED] else ""
    left = f", {counts[REMOVE]} are left for the next pass" if counts[REMOVE] else ""
    return f"{counts[REMOVED]} removed{failed}{left}"


def _without_daemon(wish: dict[str, Any]) -> dict[str, Any]:
    """Own the configuration's store for one pass. Raises `DaemonError` with what keeps it from being done."""
    import asyncio  # noqa: PLC0415 - a daemon that runs is asked without all of this
    from dataclasses import asdict  # noqa: PLC0415

    from acp_runtime.config import ConfigError, load  # noqa: PLC0415
    from acp_runtime.core.errors import StoreError  # noqa: PLC0415
    from acp_runtime.manager.launcher import LaunchError  # noqa: PLC0415
    from acp_runtime.places import environment  # noqa: PLC0415

    try:
        return asdict(asyncio.run(_pass(load(None, environment()), wish)))
    except (StoreError, LaunchError) as error:
        raise DaemonError(error.kind, str(error)) from error
    except ConfigError as error:
        raise Rejected("invalid", str(error)) from error


async def _pass(config: "Config", wish: dict[str, Any]) -> "Reaped":
    from acp_runtime.api.daemon import STORE  # noqa: PLC0415
    from acp_runtime.clock import SystemClock  # noqa: PLC0415
    from acp_runtime.manager.docker_launcher import DockerLauncher  # noqa: PLC0415
    from acp_runtime.places import environment  # noqa: PLC0415
    from acp_runtime.service.reaping import Reaping  # noqa: PLC0415
    from acp_runtime.store.store import Store  # noqa: PLC0415

    path = config.state_dir / STORE
    async with Store.open(path, SystemClock()) as store:
        launcher = DockerLauncher(config, environment())
        launcher.own(store.id, store.epoch, path)
        reaping = Reaping(store, launcher, path.with_name("work"))
        try:
            return await reaping.run(dry_run=wish["dry_run"], volumes_of=frozenset(wish["volumes_of"]))
        finally:
            await launcher.close()
