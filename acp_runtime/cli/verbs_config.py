"""The verb `config`: where the file lies, one to begin with, whether it is right, and where each value is from."""

import argparse
import os
from pathlib import Path

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put
from acp_runtime.cli.talk import Talk
from acp_runtime.config import ConfigError, load
from acp_runtime.config.reference import example, in_force
from acp_runtime.places import config_dir, environment


def config(options: argparse.Namespace) -> int:
    """Run one of the four."""
    path = Path(options.config) if options.config else _usual()
    if options.what == "path":
        put(str(path))
        return Exit.DONE
    if options.what == "init":
        return _init(path)
    try:
        found = load(Path(options.config) if options.config else None, environment())
    except ConfigError as error:
        Talk().tell(str(error))
        return Exit.USAGE
    if options.what == "check":
        Talk().tell("the configuration is right")
        return Exit.DONE
    for name, value in found.values.items():
        origin = f"  # {found.origins.get(name, 'default')}" if options.origin else ""
        put(f"{in_force(name, value)}{origin}")
    return Exit.DONE


def _usual() -> Path:
    named = environment().get("SUBAGENTS_CONFIG")
    return Path(named) if named else config_dir(environment()) / "config.toml"


def _init(path: Path) -> int:
    """Write a commented file; one that is there is never touched."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:  # one that everybody may change would not be read
            file.write(example())
    except FileExistsError:
        Talk().tell(f"{path} is there already; it was left alone")
        return Exit.FAILED
    except OSError as error:
        Talk().tell(f"{path} cannot be written: {error.strerror}")
        return Exit.FAILED
    put(str(path))
    return Exit.DONE
