"""The environment of this process, and the folders that it names. Light: the command line reads it at each start.

`config.py` is what reads everything else that can be configured.
"""

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = "acp-subagents"


def environment() -> Mapping[str, str]:
    """Return the environment of this process: the only place that reads it."""
    return os.environ


def config_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's configuration."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config")


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of the daemon's store and log, and of kept work."""
    return _xdg(environ, "XDG_STATE_HOME", ".local/state")


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of what can be made again."""
    return _xdg(environ, "XDG_CACHE_HOME", ".cache")


def runtime_dir(environ: Mapping[str, str]) -> Path:
    """Return a folder for sockets. Its path stays short: a unix socket's may not be longer than 107 bytes."""
    root = environ.get("XDG_RUNTIME_DIR", "")
    if root.startswith("/") and os.path.isdir(root):  # noqa: PTH112 - that raises where it may not look
        return Path(root) / FOLDER
    return Path(f"/tmp/{FOLDER}-{os.getuid()}")  # noqa: S108 - made 0700 and checked by its user


def runtime_dirs(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where processes of this user have that folder: with this environment, in a login, and without either."""
    login = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    return tuple(dict.fromkeys(runtime_dir(each) for each in (environ, login, {})))


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    root = environ.get(variable, "")
    base = Path(root) if root.startswith("/") else Path(environ.get("HOME", "/")) / fallback
    return base / FOLDER
