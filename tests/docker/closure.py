"""A small image made from this machine's own files: python3, sh, coreutils and git, with the libraries they load.

It needs no registry, no mirror and no root, only permission to use the engine, and takes about two seconds the first
time and one inspect call after that. The tag is a hash over the list of files (path, mode, size, time), so a system
upgrade gives a new image and an unchanged system the same one. Inside: `/usr/bin/python3` with most of the standard
library, `sh`, `bash`, git with its templates, the users root and agent (10001), and empty `/tmp`, `/workspace`,
`/home/agent`. `/usr/bin/setuid-root-id` is `id` with root's setuid bit, to see that it gains nothing.

    name = closure_image()        # synchronous; ask for it in a session-scoped fixture
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import docker
from docker.errors import ImageNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REPOSITORY = "acp-subagents-test/closure"
LAYOUT = "5"  # part of the hash: raise it when this file puts other things into the image
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
REQUIRED = ("sh", "cat", "sleep", "git", "env", "mkdir")
WHERE_PRESENT = """
    awk basename bash chmod chown cmp comm cp cut date dd df diff dirname du echo expr false find grep groups gzip
    head hostname id install kill link ln ls mkfifo mktemp mv nice nohup nproc od pgrep pkill printenv printf ps
    pwd readlink realpath rm rmdir sed seq setpriv setsid sha256sum sort split stat stdbuf stty sync tac tail tar
    tee test timeout touch tr true truncate tty uname uniq wc who whoami xargs yes
    git-upload-pack git-receive-pack git-upload-archive
"""
PROGRAMS = (*REQUIRED, *WHERE_PRESENT.split())
GIT_SCRIPTS = ("git-submodule", "git-sh-setup", "git-sh-i18n", "git-sh-i18n--envsubst", "git-merge-one-file")
LEFT_OUT = {"distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "tkinter", "turtledemo"}
LEFT_OUT |= {"site-packages", "dist-packages", "__phello__"}
OLD_NAMES = ("libpthread.so.0", "libdl.so.2", "librt.so.1")  # now part of libc; programs built elsewhere still ask
RUNTIMES = ("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6")  # what node needs; every system with apt or dnf has them
UNUSED_ENDINGS = (".a", ".exe", ".opt-1.pyc", ".opt-2.pyc")
DIRECTORIES = {"tmp": 0o1777, "var/tmp": 0o1777, "run": 0o755, "proc": 0o755, "sys": 0o755, "dev": 0o755, "root": 0o700}
AGENT = 10001
ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/root:/bin/sh\nagent:x:{AGENT}:{AGENT}:agent:/home/agent:/bin/sh\n",
    "etc/group": f"root:x:0:\nagent:x:{AGENT}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@functools.cache
def closure_image() -> str:
    """Name of the image; made if the engine does not have it. Two processes may call this at once."""
    files = _files()
    name = f"{REPOSITORY}:{_digest(files)}"
    client = docker.from_env(timeout=120)
    try:
        try:
            client.images.get(name)
        except ImageNotFound:
            with tempfile.TemporaryFile() as spool:
                write_tar(spool, files)
                spool.seek(0)
                repository, _, tag = name.partition(":")
                changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "LABEL io.acp-subagents.test=1"]
                client.api.import_image(src=spool, repository=repository, tag=tag, changes=changes)
    finally:
        client.close()
    return name


def write_tar(out: IO[bytes], files: dict[str, Path | str] | None = None) -> None:
    """The root file system as an uncompressed tar. A value of `files` that is a Path is copied, a string is a link."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for directory, mode in _directories(files := files or _files()):
            _add(tar, directory, mode=mode, kind=tarfile.DIRTYPE)
        for owned in ("workspace", "home/agent"):
            _add(tar, owned, mode=0o755, kind=tarfile.DIRTYPE, owner=AGENT)
        for name, text in ACCOUNTS.items():
            _add(tar, name, data=text.encode())
        for name, source in sorted(files.items()):
            if isinstance(source, str):
                _add(tar, name, link=source)
            else:
                _copy(tar, name, source)
        _copy(tar, "usr/bin/setuid-root-id", Path(shutil.which("id", path=SYSTEM_PATH)), mode=0o4755)


def _add(tar, name, *, mode=0o644, kind=tarfile.REGTYPE, data=b"", link="", owner=0):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid, entry.size = mode, owner, owner, len(data)
    entry.type, entry.linkname = (tarfile.SYMTYPE, link) if link else (kind, "")
    tar.addfile(entry, io.BytesIO(data))


def _copy(tar, name, source, mode=None):
    with source.open("rb") as content:
        found = os.fstat(content.fileno())
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = found.st_size, mode or (0o755 if found.st_mode & 0o100 else 0o644)
        entry.mtime = int(found.st_mtime)  # compiled modules are only used when their source has the time they recorded
        tar.addfile(entry, content)


def _directories(files: Iterable[str]) -> Iterator[tuple[str, int]]:
    wanted = {str(parent) for name in (*files, *ACCOUNTS, "home/agent") for parent in Path(name).parents} - {"."}
    modes = dict.fromkeys(wanted, 0o755) | DIRECTORIES
    yield from sorted(modes.items() if "var" in modes else {**modes, "var": 0o755}.items())


def _digest(files: dict[str, Path | str]) -> str:
    seen = hashlib.sha256(LAYOUT.encode())
    for name, source in sorted(files.items()):
        if "__pycache__" in name:  # written by whoever imports first, and no part of what the image does
            continue
        found = "" if isinstance(source, str) else "{0.st_mode} {0.st_size} {0.st_mtime_ns}".format(source.stat())
        seen.update(f"{name}\0{source}\0{found}\n".encode())
    return seen.hexdigest()[:16]


def _files() -> dict[str, Path | str]:
    """Every path of the image that comes from this machine, relative to its root."""
    python = _python()
    files: dict[str, Path | str] = {}
    programs = [Path(found) for name in PROGRAMS if (found := shutil.which(name, path=SYSTEM_PATH))]
    if missing := set(REQUIRED) - {program.name for program in programs}:
        names = ", ".join(sorted(missing))
        raise RuntimeError(f"The test image needs {names} of this machine; install them (Debian: git and coreutils).")
    programs += _git_scripts()
    modules = list(_library(Path(python["stdlib"])))
    binaries = [*programs, Path(python["executable"]), *(path for path in modules if path.suffix == ".so")]
    for path in (*binaries, *modules, *_libraries(binaries), *_templates()):
        _place(files, path)
    if "usr/bin/python3" not in files:
        files["usr/bin/python3"] = python["executable"]
    for top in ("bin", "sbin", "lib", "lib64"):
        if Path("/", top).is_symlink():
            files[top] = str(Path("/", top).readlink()).lstrip("/")
    return files


def _place(files: dict[str, Path | str], path: Path) -> None:
    """The real file at its real place, and a link where the name is another one."""
    real = path.resolve()
    if not real.is_file() or not os.access(real, os.R_OK):
        return
    files[str(real).lstrip("/")] = real
    name = path.parent.resolve() / path.name
    if name != real:
        files[str(name).lstrip("/")] = str(real)


def _python() -> dict[str, str]:
    """The real interpreter: not a version manager's shim, and not a virtual environment's link."""
    candidates = [Path("/usr/bin/python3"), Path(sys.base_prefix, "bin", "python3"), Path(sys.executable)]
    program = next(candidate for candidate in candidates if candidate.is_file())
    question = "import json, os, sys, sysconfig; print(json.dumps({'executable': os.path.realpath(sys.executable),"
    question += " 'stdlib': sysconfig.get_path('stdlib')}))"
    answer = subprocess.run([program, "-I", "-c", question], check=True, capture_output=True, timeout=30)
    return json.loads(answer.stdout)


def _library(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("config-"))
        yield from (Path(folder, name) for name in names if not name.endswith(UNUSED_ENDINGS))


def _git_scripts() -> list[Path]:
    """The programs of git that are no links to git itself."""
    git = shutil.which("git", path=SYSTEM_PATH)
    answer = subprocess.run([git, "--exec-path"], check=True, capture_output=True, text=True, timeout=30)
    return [path for name in GIT_SCRIPTS if (path := Path(answer.stdout.strip(), name)).is_file()]


def _templates() -> list[Path]:
    return [path for path in Path("/usr/share/git-core/templates").rglob("*") if path.is_file()]


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """What the dynamic loader would map for these programs, the loader itself included."""
    elves = sorted({str(path.resolve()) for path in binaries if _is_elf(path)})
    answer = subprocess.run(["ldd", *elves], check=False, capture_output=True, text=True, timeout=60)
    words = (word for line in answer.stdout.splitlines() if "(0x" in line for word in line.split())
    found = {Path(word) for word in words if word.startswith("/")}
    libc = next(path for path in found if path.name.startswith("libc.so"))
    return found | {libc.with_name(name) for name in (*OLD_NAMES, *RUNTIMES)}


def _is_elf(path: Path) -> bool:
    real = path.resolve()
    if not real.is_file() or not os.access(real, os.R_OK) or not stat.S_ISREG(real.stat().st_mode):
        return False
    with real.open("rb") as content:
        return content.read(4) == b"\x7fELF"
