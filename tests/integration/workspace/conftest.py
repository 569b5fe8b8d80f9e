"""A host folder, a guest made of two plain folders, and the way between them."""

import contextlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from sandbox.workspace import Guest, LocalRunner, WorkspaceLimits, bring_in, take_out, take_snapshot

PATH = os.environ["PATH"]


def contents(folder):
    """What lies in a folder: path → kind, execute bit and content. The folder's own `.git` does not count."""
    found = {}
    for place, folders, names in os.walk(os.fsencode(folder)):
        if place == os.fsencode(folder) and b".git" in folders + names:
            (folders if b".git" in folders else names).remove(b".git")
        for name in names + folders:
            path = Path(os.fsdecode(place), os.fsdecode(name))
            status, key = path.lstat(), os.fsencode(path.relative_to(folder))
            if stat.S_ISLNK(status.st_mode):
                found[key] = ("link", str(path.readlink()))
            elif stat.S_ISREG(status.st_mode):
                found[key] = ("file", bool(status.st_mode & 0o100), path.read_bytes())
    return found


class Host:
    """A folder on the host and a git with an empty home, as a user without settings has it."""

    def __init__(self, home, folder):
        self.home, self.folder = home, folder
        self.environ = {"PATH": PATH, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            self.environ |= {f"GIT_{role}_NAME": "user", f"GIT_{role}_EMAIL": "user@localhost"}

    def git(self, *arguments, cwd=None, check=True, stdin=b""):
        argv = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *arguments]
        done = subprocess.run(
            argv, cwd=cwd or self.folder, env=self.environ, input=stdin, capture_output=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    def put(self, name, content=b"", folder=None):
        path = Path(folder or self.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def repository(self, *options):
        """Two commits: a file that changes, one in a folder, one that is removed."""
        self.git("init", "-q", *options)
        self.put("kept.txt", b"one\n")
        self.put("folder/deep.txt", b"deep\n")
        self.put("gone.txt", b"gone\n")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "first")
        self.put("kept.txt", b"one\ntwo\n")
        (self.folder / "gone.txt").unlink()
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "second")
        return self.head()

    def head(self):
        return self.git("rev-parse", "HEAD").stdout.decode().strip()


class Carried:
    """A snapshot in a guest."""

    def __init__(self, snapshot, guest, environ):
        self.snapshot, self.guest, self.work = snapshot, guest, Path(guest.work)
        self._environ = environ

    def git(self, *arguments):
        """Git as the agent uses it, in its clone."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.work, env=self._environ, capture_output=True, timeout=60, check=True
        )
        return done.stdout.decode(errors="surrogateescape").strip()

    def put(self, name, content=b""):
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    async def out(self):
        return await take_out(self.guest)


@pytest.fixture(name="contents")
def contents_fixture():
    return contents


@pytest.fixture
def host(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    return Host(home, folder)


@pytest.fixture
def take(tmp_path, host):
    """Takes a snapshot of a folder, the host's one unless told."""

    async def taken(folder=None, tell=lambda _: None, **limits):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return await take_snapshot(
            folder or host.folder, scratch, environ=host.environ, limits=WorkspaceLimits(**limits), tell=tell
        )

    return taken


@pytest.fixture
def carry(tmp_path, host, take):
    """Takes a snapshot and brings it into a guest of its own."""

    async def carried(folder=None, **limits):
        snapshot = await take(folder, **limits)
        volumes = tmp_path / f"guest-{sum(1 for _ in tmp_path.glob('guest-*'))}"
        for name in ("base", "work"):
            (volumes / name).mkdir(parents=True)
        guest = Guest(
            LocalRunner(PATH), WorkspaceLimits(**limits), base=str(volumes / "base"), work=str(volumes / "work")
        )
        await bring_in(guest, snapshot)
        return Carried(snapshot, guest, host.environ)

    return carried


@pytest.fixture
def unprivileged(tmp_path):
    """A context in which file permissions count, also when the tests run as root."""
    nobody = 65534

    @contextlib.contextmanager
    def as_nobody():
        if os.geteuid() != 0:
            yield
            return
        for parent in tmp_path.parents:
            if parent.stat().st_uid == 0 and parent.stat().st_mode & 0o077 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
        for place, _, names in os.walk(tmp_path):
            for path in (Path(place), *(Path(place, name) for name in names)):
                os.chown(path, nobody, nobody, follow_symlinks=False)
        os.setresuid(nobody, nobody, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)

    return as_nobody
