"""Undoing what the set-up did, and nothing else.

Order: our objects on the engine, then the daemon that we started, then the packages that we installed, then the note
itself. Promises: a running sandbox, a foreign container on an engine that would stop, or a package that others need
ends it with a sentence before the harm; each step that was done is forgotten at once, so it can be repeated.
"""

from collections.abc import Mapping

from hostsetup import daemon
from hostsetup.daemon import Host
from hostsetup.endpoint import Endpoint, default_endpoint
from hostsetup.engine_api import Answer, EngineApi, Thing, ping
from hostsetup.packages import Apt
from hostsetup.record import Done, Record
from hostsetup.talk import Stop, say


def remove(record: Record, endpoint: Endpoint, environ: Mapping[str, str], host: Host) -> None:
    """Undo everything that is noted. Raises Stop when something is in the way."""
    done = record.read()
    if _would_stop(done):
        endpoint = default_endpoint()  # what we set up is this machine's own, whatever is chosen today
    emptied = False
    if ping(endpoint).answer is Answer.ANSWERS:
        emptied = _clear_engine(EngineApi(endpoint), endpoint, stops=_would_stop(done))
    else:
        say(f"No engine answers at {endpoint.url}, so nothing can be removed from it.")
    if not _would_stop(done):
        say("The engine itself was neither installed nor started by make engine; it stays as it is.")
        return
    with record.locked():
        if done.started:
            daemon.end(done.started, environ, host)
            record.set_started(None)
        Apt(record.package_log, environ).remove(done.packages, purge=emptied)
        record.forget()
    kept = "; /var/lib/docker stays, as not everything in it is this project's: delete it by hand if it may go"
    stays = kept if done.packages and not emptied else ""
    say(f"What make engine did to this machine is undone{stays}.")


def _would_stop(done: Done) -> bool:
    return done.started is not None or bool(done.packages)


def _clear_engine(api: EngineApi, endpoint: Endpoint, *, stops: bool) -> bool:
    """Remove our objects; returns whether the engine holds nothing of others now."""
    containers = api.containers()
    _refuse(
        [one for one in containers if one.ours and one.running],
        "sandboxes of this project run: end them first (Ctrl-C in their run)",
    )
    if stops:
        _refuse(
            [one for one in containers if not one.ours and one.running],
            f"containers of others run on the engine at {endpoint.url}, which would stop: end them first",
        )
    count = 0
    for kind, things in (("containers", containers), ("volumes", api.volumes()), ("images", api.images())):
        for thing in things:
            if thing.ours:
                api.remove(kind, thing)
                count += 1
    say(f"Removed {count} objects of this project from the engine at {endpoint.url}.")
    return not (api.containers() or api.volumes() or api.images())


def _refuse(things: list[Thing], why: str) -> None:
    if things:
        names = ", ".join(one.name for one in things[:5]) + (", …" if len(things) > 5 else "")
        raise Stop(f"Nothing was removed, because {why} ({names}).")
