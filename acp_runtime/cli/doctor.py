"""The verb `doctor`: what is missing on this machine and how to get it; with `--bundle`, a report that others may see.

Promises: nothing is changed, and nothing started but programs that give keys of models; the report names no key, no
token and no address with a password.
"""

import argparse
import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from acp_runtime import __version__
from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.api.unix_socket import other_folder, usual_folder
from acp_runtime.callers import OPERATOR
from acp_runtime.cli.clients_found import about_clients, about_late_hooks
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.finding import Finding, Mark
from acp_runtime.cli.isolation import about_engine, about_presets, about_registries
from acp_runtime.cli.keys_found import about_keys
from acp_runtime.cli.redaction import redacted
from acp_runtime.cli.status import NO_GATEWAY
from acp_runtime.cli.stdout import put
from acp_runtime.cli.talk import Talk
from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.gateway.onlooker import look
from acp_runtime.keys.login import KeyLogin
from acp_runtime.keys.vendors import INSTEAD, VENDORS
from acp_runtime.places import environment, runtime_dir, state_dir
from acp_runtime.store.disk import LEAST_ROOM
from sandbox.agents_volume import AgentsVolume
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.image_recipe import load_recipe
from sandbox.programs import ARCHITECTURES, PROGRAMS, program

LEAST_FREE: Final = 5 * 1024**3
LOG_LINES: Final = 200
NOW: Final = "To have all of it made now, run python -m sandbox.images"
GIB: Final = 1024**3
MIB: Final = 1024**2


def doctor(options: argparse.Namespace) -> int:
    """Look at everything, say it, and return 0 when nothing is missing."""
    found = list(_findings(options))
    for each in found:
        put(f"{each.mark:<5}{each.what:<15}{each.sentence}")
    if options.bundle is not None:
        try:
            _write(Path(options.bundle), _report(found))
        except OSError as error:
            Talk().tell(f"{options.bundle} cannot be written: {error.strerror}")
            return Exit.USAGE
        Talk().tell(f"the report is in {options.bundle}; look through it before you send it")
    bad = {each.what for each in found if each.mark is Mark.BAD}
    return Exit.ENGINE if "engine" in bad else Exit.FAILED if bad else Exit.DONE


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    yield Finding(Mark.GOOD, "version", f"acp-subagents {__version__}, Python {platform.python_version()}")
    yield _git()
    config = _config(options)
    yield config if isinstance(config, Finding) else Finding(Mark.GOOD, "configuration", "is right")
    yield from () if isinstance(config, Finding) else about_registries(config.registries)
    yield from asyncio.run(_engine(None if isinstance(config, Finding) else config))
    yield from _disk()
    yield _daemon()
    yield from _gateways()
    yield _logins()
    yield from () if isinstance(config, Finding) else asyncio.run(about_keys(config.models, environment()))
    yield from about_clients(environment(), Path.cwd())
    yield from about_late_hooks(runtime_dir(environment()))


def _git() -> Finding:
    path = shutil.which("git", path=environment().get("PATH"))
    if path is None:
        return Finding(Mark.BAD, "git", "is not installed; install it, as with apt-get install git")
    return Finding(Mark.GOOD, "git", path)


def _config(options: argparse.Namespace) -> Config | Finding:
    try:
        return load(Path(options.config) if options.config else None, environment())
    except ConfigError as error:
        return Finding(Mark.BAD, "configuration", str(error))


async def _engine(config: Config | None) -> list[Finding]:
    """Look at the engine, at what a start needs of it, and at what the configuration asks of it."""
    presets = {} if config is None else config.presets
    try:
        engine = await Engine.connect(environment())
    except SandboxError as error:
        return [Finding(Mark.BAD, "engine", str(error)), *about_presets(presets, None)]
    try:
        needed = [*_programs(engine), *await _made(engine, None if config is None else config.base_image)]
    except SandboxError as error:
        needed = [Finding(Mark.BAD, "engine", str(error))]
    finally:
        await engine.close()
    return [*about_engine(engine.facts), *about_presets(presets, engine.facts), *needed]


def _programs(engine: Engine) -> Iterator[Finding]:
    for name in PROGRAMS:
        try:
            yield Finding(Mark.GOOD, name, str(program(name, engine.facts.architecture)))
        except SandboxError as error:
            yield Finding(Mark.BAD, name, str(error))


async def _made(engine: Engine, image: str | None) -> list[Finding]:
    """Look for what the first start pulls or builds."""
    recipe, architecture = load_recipe(), engine.facts.architecture
    if architecture not in ARCHITECTURES:
        return []
    volume = AgentsVolume(engine=engine, key=recipe.agents_key(architecture), versions=recipe.versions(architecture))
    wanted = image or recipe.base_name(architecture)
    there = await engine.inspect_image(wanted) is not None
    how = "pulls" if image is not None else "builds"
    agents = await volume.published()
    return [
        Finding(Mark.GOOD, "image", wanted)
        if there
        else Finding(Mark.WARN, "image", f"{wanted} is not on the engine yet; the first start {how} it"),
        Finding(Mark.GOOD, "agents", agents)
        if agents
        else Finding(Mark.WARN, "agents", f"are not on the engine yet; the first start builds them. {NOW}"),
    ]


def _disk() -> Iterator[Finding]:
    for what, folder in (("disk", state_dir(environment())), ("sockets", runtime_dir(environment()))):
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = "cannot be written by this user" if there.is_dir() else "is no folder"
            yield Finding(Mark.BAD, what, f"{folder} cannot be used: {there} {why}")
            continue
        free = shutil.disk_usage(there).free
        if what == "disk" and free < LEAST_ROOM:
            yield Finding(Mark.BAD, what, f"{folder}: {free / MIB:.1f} MiB free; nothing new is started, make room")
            continue
        enough = free >= LEAST_FREE or what == "sockets"
        sentence = f"{folder}: {free / GIB:.1f} GiB free"
        yield Finding(
            Mark.GOOD if enough else Mark.WARN, what, sentence if enough else f"{sentence}; images take about 1.5 GiB"
        )


def _daemon() -> Finding:
    try:
        hello = UnixClient(start=False).hello()
    except DaemonError as error:
        if error.kind == "daemon_unreachable":
            return Finding(Mark.GOOD, "daemon", "does not run; the first verb that needs it starts it")
        return Finding(Mark.BAD, "daemon", str(error))
    if hello["version"] != __version__:
        sentence = f"is version {hello['version']}; run `subagents serve --replace`"
        return Finding(Mark.WARN, "daemon", sentence)
    if hello["folder"] != (ours := usual_folder()):
        return Finding(Mark.BAD, "daemon", other_folder(hello["folder"], ours))
    told = f"process {hello['pid']}, store {hello['store']}, epoch {hello['epoch']}"
    if hello["launcher"] == "local":
        return Finding(Mark.WARN, "daemon", f"{told}; --unsafe-local: agents run as your user, without a container")
    return Finding(Mark.GOOD, "daemon", told)


def _logins() -> Finding:
    """Say which logins of subscriptions agents can use, and how other subscriptions are used."""
    usable = ", ".join(f"login:{name} ({KeyLogin.parse(name, environment()).state()})" for name in VENDORS)
    others = "".join(f"; not login:{name}: {why}" for name, why in INSTEAD.items())
    return Finding(Mark.GOOD, "logins", f"{usable}{others}")


def _gateways() -> Iterator[Finding]:
    """Tell of the gateways of this user's stores; those of a store whose manager has gone end by themselves."""
    with suppress(DaemonError, Rejected):
        if why := UnixClient(start=False).call("grounds", OPERATOR).get("no_gateway"):
            yield Finding(Mark.BAD, "gateway", f"{NO_GATEWAY}: {one_line(why, 400)}")
    for each in asyncio.run(look(runtime_dir(environment()))):
        if each.pid is None:
            yield Finding(Mark.WARN, "gateway", f"{each.socket} was left by a dead one; `subagents reap` removes it")
        else:
            well = each.answers and each.alone is None
            yield Finding(Mark.GOOD if well else Mark.WARN, "gateway", each.words)


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor has no path
        os.fchmod(descriptor, 0o600)
        file.write(text)


def _report(found: list[Finding]) -> str:
    """Return the findings and the end of the daemon's log, without what is nobody's business."""
    lines = [f"{each.mark:<5}{each.what:<15}{each.sentence}" for each in found]
    lines += ["", f"system: {platform.platform()}", f"program: {sys.executable}", "", "end of the daemon's log:"]
    log = state_dir(environment()) / "daemon.log"
    if log.is_file():
        lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return redacted("\n".join(lines), environment()) + "\n"
