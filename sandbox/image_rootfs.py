"""A bare Debian or Ubuntu root file system, made on this machine from the package mirror that its apt already uses.

Promises: only root does this, and each reason why it cannot be done is one clause in `RootfsUnavailable`. No host is
named here: mirror, components and keyring are read from apt. The work happens in its own mount and process namespace
that ends with this process, in a temporary folder under $TMPDIR (else /var/tmp) that is removed afterwards; what a
killed run has left is removed by the next one.
"""

import asyncio
import contextlib
import fcntl
import os
import platform
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mirror", "Rootfs", "RootfsUnavailable", "bootstrap", "read_targets"]

Progress = Callable[[str], None]

KINDS = {"Debian": {"main"}, "Ubuntu": {"main", "universe"}}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
TARGET_FIELDS = ("ORIGIN", "CODENAME", "COMPONENT", "REPO_URI", "SOURCESENTRY")
FORMAT = "|".join(f"$({field})" for field in TARGET_FIELDS)
PREFIX = "acp-subagents-rootfs-"
# The kernel ends the mounts and processes of what is run behind this, with this process at the latest.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
UPDATE_SECONDS = 300
BOOTSTRAP_SECONDS = 1200
TAIL_BYTES = 2000  # of a failing program's output
LEFT_OUT = ("./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./usr/share/man/*")
KEYRING = re.compile(r"^[^#\n]*\bsigned-by\s*[:=]\s*(/[^\s,\]]+\.(?:gpg|pgp))", re.IGNORECASE | re.MULTILINE)


class RootfsUnavailable(Exception):  # noqa: N818 - reads as what happened
    """It cannot be made here; the text is one clause that says why."""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Where this machine's apt takes its own distribution from."""

    distribution: str
    suite: str
    components: tuple[str, ...]
    address: str
    keyring: Path | None


@dataclass(frozen=True, kw_only=True)
class Rootfs:
    """A finished root file system. `tar_command` writes it to its standard output."""

    suite: str
    folder: Path

    @property
    def tar_command(self) -> list[str]:
        """Give the program and arguments; caches and manual pages stay behind."""
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        return ["tar", "--create", "--numeric-owner", *left_out, f"--directory={self.folder}", "."]


def read_targets(text: str, codename: str) -> Mirror | None:
    """Pick the mirror of the running system's own suite out of what `apt-get indextargets` lists."""
    found = [row for line in text.splitlines() if len(row := line.split("|")) == len(TARGET_FIELDS)]
    own = [row for row in found if row[0] in KINDS and row[1] == codename and row[2] in KINDS[row[0]]]
    if not any(row[2] == "main" for row in own):
        return None
    distribution, _, _, address, entry = next(row for row in own if row[2] == "main")
    components = sorted({row[2] for row in own if row[3] == address})
    keyring = _keyring(Path(entry.rpartition(":")[0]))
    return Mirror(
        distribution=distribution, suite=codename, components=tuple(components), address=address, keyring=keyring
    )


@contextlib.asynccontextmanager
async def bootstrap(wanted: str, architecture: str, progress: Progress) -> AsyncIterator[Rootfs]:
    """Make one: of the `wanted` Debian suite where this is Debian and its mirror has it, else of the own suite.

    RootfsUnavailable says why not: not root, another architecture, no apt, no mirror, or the last program's words.
    """
    _check_machine(architecture)
    mirror = await _mirror(progress)
    await _install_debootstrap(progress)
    suites = [wanted, mirror.suite] if mirror.distribution == "Debian" else [mirror.suite]
    async with _folder() as folder:
        for suite in dict.fromkeys(suites):
            progress(f"Making a {suite} root file system: about 45 MB of packages, a minute or two.")
            root = folder / suite
            root.mkdir(mode=0o755)
            root.chmod(0o755)  # whatever the umask says: users in the container must be able to enter `/`
            code, words = await _run(_debootstrap(mirror, suite, architecture, root), BOOTSTRAP_SECONDS)
            if code == 0:
                yield Rootfs(suite=suite, folder=root)
                return
            progress(f"debootstrap of {suite} failed: {_last_line(words)}")
        raise RootfsUnavailable(f"debootstrap failed ({_last_line(words)})")


def _check_machine(architecture: str) -> None:
    here = MACHINES.get(platform.machine(), platform.machine())
    if here != architecture:
        raise RootfsUnavailable(f"the engine is {architecture} and this machine is {here}")
    if not shutil.which("apt-get"):
        raise RootfsUnavailable(
            "this machine is neither Debian nor Ubuntu, so it has no package mirror to make one from"
        )
    if os.geteuid() != 0:
        raise RootfsUnavailable("making one from packages needs root")


async def _mirror(progress: Progress) -> Mirror:
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    for attempt in range(2):
        _, text = await _run(["apt-get", "indextargets", "--format", FORMAT], UPDATE_SECONDS)
        if mirror := read_targets(text, codename):
            return mirror
        if attempt == 0:
            progress("Reading the package lists of this machine's apt: about 10 MB.")
            await _run(["apt-get", "-q", "update"], UPDATE_SECONDS)
    raise RootfsUnavailable(f"apt on this machine knows no mirror of its own suite {codename!r}")


async def _install_debootstrap(progress: Progress) -> None:
    if shutil.which("debootstrap"):
        return
    progress("Installing debootstrap on this machine with apt-get: less than 1 MB.")
    install = ["apt-get", "-q", "-y", "install", "--no-install-recommends", "debootstrap"]
    code, words = await _run(install, UPDATE_SECONDS)
    if code != 0:
        await _run(["apt-get", "-q", "update"], UPDATE_SECONDS)
        code, words = await _run(install, UPDATE_SECONDS)
    if code != 0:
        raise RootfsUnavailable(f"debootstrap could not be installed ({_last_line(words)})")


def _debootstrap(mirror: Mirror, suite: str, architecture: str, root: Path) -> list[str]:
    """Build the command; half done it would leave mounts and processes, so it gets namespaces of its own."""
    options = ["--variant=minbase", f"--arch={architecture}", f"--components={','.join(mirror.components)}"]
    if mirror.address.startswith("https:"):
        options.append("--include=ca-certificates")
    if mirror.keyring:
        options.append(f"--keyring={mirror.keyring}")
    return [*ALONE, "debootstrap", *options, suite, str(root), mirror.address]


def _keyring(source: Path) -> Path | None:
    """Find the keyring that a sources file names; None leaves debootstrap its own choice for the suite."""
    try:
        found = KEYRING.search(source.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return Path(found[1]) if found and Path(found[1]).is_file() else None


async def _run(argv: list[str], seconds: float) -> tuple[int, str]:
    """Run a program with no input; give its exit code and all (apt) or the last part (others) of what it said."""
    environ: Mapping[str, str] = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
        umask=0o022,
    )
    try:
        async with asyncio.timeout(seconds):
            said = await _read_tail(process)
            return await process.wait(), said
    except TimeoutError:
        raise RootfsUnavailable(f"{argv[0]} did not end within {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _read_tail(process: asyncio.subprocess.Process, limit: int = 64 * 1024) -> str:
    said = b""
    if process.stdout:
        while piece := await process.stdout.read(limit):
            said = (said + piece)[-limit:]
    return said.decode(errors="replace")


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words[-TAIL_BYTES:].splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


@contextlib.asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    folder, handle = await asyncio.to_thread(_make_folder)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        os.close(handle)


def _make_folder() -> tuple[Path, int]:
    """Make a temporary folder, owned by a lock on it, which the kernel drops with this process."""
    parent = Path(os.environ.get("TMPDIR") or "/var/tmp")  # noqa: S108 - mkdtemp is safe there; /tmp is often in memory
    for left in parent.glob(f"{PREFIX}*"):
        _remove_if_left(left)
    fresh = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}", dir=parent))
    handle = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    folder = fresh.with_name(fresh.name.removeprefix("new-"))
    fresh.rename(folder)  # only now, when it is locked, does its name look like one to clean up
    return folder, handle


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
