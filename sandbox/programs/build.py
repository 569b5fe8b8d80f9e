"""Compiles relay and holder into static programs for every architecture, with the pinned `ziglang` wheel.

The result depends on the sources and the compiler only: the same bytes in whichever folder and however often it is
built. Needs nothing of the package, so that it runs as a script and from the build hook:

    python sandbox/programs/build.py [FOLDER]      (default: the `bin` folder beside this file)
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["BuildFailed", "build"]

_SOURCES = Path(__file__).parent
_PROGRAMS = ("relay", "holder", "tools")
_TARGETS = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}
_FLAGS = (
    *("-std=c11", "-O2", "-static", "-s"),
    *("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"),
    *("-ffile-prefix-map=.=programs", "-fno-ident"),
)
_BOUND = 600.0  # seconds for one target; the first one builds a C library as well


class BuildFailed(Exception):  # noqa: N818 - reads as what happened
    """A program could not be compiled; the text says why and what to do."""


def build(folder: Path, say: Callable[[str], None], *, sources: Path = _SOURCES) -> tuple[Path, ...]:
    """Compile every program for every architecture into `folder` and record the SHA-256 of each; returns all files.

    `say` gets a sentence before each slow step. A file that exists is replaced in one step, so that a program in use
    stays whole. Raises BuildFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="programs-") as scratch:
        # The compiler sees relative names only: no folder can get into the result.
        for source in (*sources.glob("*.c"), *sources.glob("*.h")):
            shutil.copyfile(source, Path(scratch, source.name))
        environ = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(_cache(Path(scratch))), "ZIG_LOCAL_CACHE_DIR": "cache"}
        names = []
        for architecture, target in _TARGETS.items():
            say(f"Compiling the programs for {architecture} (about 30 s the first time, 2 s later).")
            for program in _PROGRAMS:
                names.append(f"{program}-{architecture}")
                _compile(Path(scratch), target, f"{program}.c", names[-1], environ)
        sums = [f"{hashlib.sha256(Path(scratch, name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        Path(scratch, "SHA256SUMS").write_text("".join(sums), encoding="ascii")
        return tuple(_install(Path(scratch, name), folder) for name in [*names, "SHA256SUMS"])


def _compile(scratch: Path, target: str, source: str, name: str, environ: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "ziglang", "cc", "-target", target, *_FLAGS, source, "-o", name]
    try:
        done = subprocess.run(argv, cwd=scratch, env=environ, capture_output=True, timeout=_BOUND, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{source} did not compile for {target} within {_BOUND:.0f} s; try again.") from error
    if done.returncode != 0:
        output = done.stderr.decode(errors="replace").strip()
        remedy = "install the pinned ziglang wheel (`pip install ziglang==0.16.0`)" if "No module" in output else output
        raise BuildFailed(f"{source} did not compile for {target}: {remedy}")


def _install(made: Path, folder: Path) -> Path:
    path = folder / made.name
    partial = folder / f".{made.name}.{os.getpid()}"
    shutil.copyfile(made, partial)
    partial.chmod(0o644 if made.name == "SHA256SUMS" else 0o755)
    return partial.replace(path)


def _cache(scratch: Path) -> Path:
    """Say where the compiler keeps the C library it built: the user's cache, or the scratch folder if closed."""
    if "ZIG_GLOBAL_CACHE_DIR" in os.environ:
        return Path(os.environ["ZIG_GLOBAL_CACHE_DIR"]).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - no error without a home
    path = Path(base, "acp-subagents", "zig").absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError:
        return scratch / "global"


def _main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _SOURCES / "bin"
    try:
        for path in build(folder, lambda line: print(line, file=sys.stderr, flush=True)):  # noqa: T201 - a script
            print(path)  # noqa: T201
    except BuildFailed as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
