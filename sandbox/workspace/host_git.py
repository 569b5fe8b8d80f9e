"""The host's own git, run on temporary repositories of ours: it reads a folder, and writes only to the scratch."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import WorkspaceError
from sandbox.workspace.hardened import hardened_environment
from sandbox.workspace.process import Ended, OutputFile, run_process
from sandbox.workspace.text import last_line, shown

__all__ = ["GitFailed", "HostGit", "create_repository", "find_git", "quoted"]

OUTPUT_LIMIT = 256 * 1_048_576  # names of files; a million of them are some 60 MiB
INSTALL = "install git (Debian and Ubuntu: apt-get install git)"
USERS_OWN = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


class GitFailed(WorkspaceError):  # noqa: N818 - reads as what happened
    """Git ended with an error; the sentence holds the last line that it said."""


@dataclass(frozen=True)
class HostGit:
    """Git with a repository and a work tree of our choosing.

    `directory` is the repository, always one that we made, with its index; `folder`, inside `work_tree`, is where git
    runs and what it lists.
    """

    program: str
    path: str
    directory: Path
    work_tree: Path
    folder: Path
    seconds: float

    @property
    def index(self) -> Path:
        return self.directory / "index"

    async def run(
        self,
        *arguments: str,
        stdin: bytes | AsyncIterator[bytes] | None = None,
        output: int | OutputFile = OUTPUT_LIMIT,
    ) -> bytes:
        """Return the standard output of a successful call. Raises GitFailed, and CommandTimeout after `seconds`."""
        ended = await self.ended(*arguments, stdin=stdin, output=output)
        where = shown(os.fsencode(self.folder))
        if ended.exit_code != 0:
            raise GitFailed(f"git {arguments[0]} failed on {where}: {last_line(ended.stderr)}.")
        if ended.truncated:
            raise WorkspaceError(f"{where} has too many names to list; give a smaller folder.")
        return ended.stdout

    async def ended(
        self,
        *arguments: str,
        stdin: bytes | AsyncIterator[bytes] | None = None,
        output: int | OutputFile = OUTPUT_LIMIT,
    ) -> Ended:
        """Tell how a call ended, whatever its status. Raises CommandTimeout after `seconds`."""
        environment = {
            **hardened_environment(),
            "PATH": self.path,
            "GIT_DIR": str(self.directory),
            "GIT_WORK_TREE": str(self.work_tree),
        }
        return await run_process(
            (self.program, *arguments),
            cwd=self.folder,
            env=environment,
            stdin=stdin,
            output=output,
            seconds=self.seconds,
        )

    async def users_ignore_file(self, environ: Mapping[str, str]) -> Path | None:
        """Find the user's own ignore file: `core.excludesFile` of the user or the machine, or git's default.

        Only here git reads the user's configuration, for this one value, and away from the folder.
        """
        own = {name: environ[name] for name in USERS_OWN if name in environ}
        ended = await run_process(
            (self.program, "config", "--type=path", "--get", "core.excludesFile"),
            cwd=self.directory,
            env={**own, "PATH": self.path, "GIT_DIR": str(self.directory)},
            stdin=None,
            output=OUTPUT_LIMIT,
            seconds=self.seconds,
        )
        if ended.exit_code == 0 and (line := ended.stdout.rstrip(b"\n")):
            return Path(os.fsdecode(line))
        home = environ.get("HOME")
        settings = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
        return Path(settings, "git", "ignore") if settings else None


def find_git(environ: Mapping[str, str]) -> tuple[str, str]:
    """Find the program, and the PATH for it; relative entries are dropped: they find a `git` that the folder brings."""
    entries = environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(entry for entry in entries if entry.startswith("/"))
    if program := shutil.which("git", path=path):
        return program, path
    raise WorkspaceError(f"Git is not on this machine, and a workspace is carried by it; {INSTALL}.")


def create_repository(directory: Path, *, object_format: str, borrowed: Path | None) -> None:
    """Make an empty repository; `borrowed` is a store of objects that it may read."""
    for folder in ("info", "objects/info", "objects/pack", "refs/heads"):
        (directory / folder).mkdir(parents=True)
    (directory / "HEAD").write_text("ref: refs/heads/none\n")
    version, extension = (0, "") if object_format == "sha1" else (1, f"[extensions]\nobjectFormat = {object_format}\n")
    (directory / "config").write_text(f"[core]\nrepositoryFormatVersion = {version}\n{extension}")
    if borrowed is not None:
        (directory / "objects/info/alternates").write_bytes(quoted(os.fsencode(borrowed)) + b"\n")


def quoted(path: bytes) -> bytes:
    """Write a name as git reads it in its own files and streams; it may hold any byte but NUL."""
    return b'"' + path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'
