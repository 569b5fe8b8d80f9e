"""Our sandbox as the self-check of inspect_ai wants one: its `SandboxEnvironment` over a `Sandbox`.

Imported by the small test module that `test_inspect_ai.py` writes, in an interpreter that has inspect_ai. The agent's
user is the default one; files are read and written by a program inside, as that user.
"""

import errno
from pathlib import PurePosixPath

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
)

from sandbox.container import Sandbox
from sandbox.errors import CommandMissing, CommandTimeout, EngineRefused
from sandbox.spec import AGENT_USER, WORKSPACE

OUTPUT = 10 * 1024 * 1024
LONGEST = 120.0
USERS = {None: AGENT_USER, "root": "0:0"}
# What went wrong is told as the number of the error.
READ = """
import os, sys
try:
    with open(sys.argv[1], "rb") as file:
        if os.fstat(file.fileno()).st_size > int(sys.argv[2]):
            sys.exit(250)
        sys.stdout.buffer.write(file.read())
except OSError as error:
    sys.exit(error.errno)
"""
WRITE = """
import os, sys
try:
    os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
    with open(sys.argv[1], "wb") as file:
        file.write(sys.stdin.buffer.read())
except OSError as error:
    sys.exit(error.errno)
"""
TOO_LONG = 250


class OurSandbox(SandboxEnvironment):
    """See the module."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self.sandbox = sandbox

    @classmethod
    async def sample_cleanup(cls, task_name, config, environments, interrupted):
        """Nothing: the fixture removes the sandbox."""

    async def exec(  # noqa: PLR0917 - as inspect_ai has it, and so are the names below
        self,
        cmd,
        input=None,  # noqa: A002
        cwd=None,
        env=None,
        user=None,
        timeout=None,  # noqa: ASYNC109
        timeout_retry=True,  # noqa: ARG002
        concurrency=True,  # noqa: ARG002
    ):
        """Run a command; see inspect_ai."""
        given = input.encode() if isinstance(input, str) else input
        where = str(PurePosixPath(WORKSPACE) / (cwd or ""))
        try:
            done = await self.sandbox.run(
                cmd,
                cwd=where,
                env=env or {},
                stdin=given,
                limit_bytes=OUTPUT,
                timeout=timeout or LONGEST,
                user=USERS.get(user, user),
            )
        except CommandTimeout as error:
            raise TimeoutError(str(error)) from error
        except CommandMissing as error:
            if "permission denied" in str(error).lower():
                raise PermissionError(errno.EACCES, "Permission denied.", cmd[0]) from error
            return ExecResult(False, 127, "", str(error))
        except EngineRefused as error:
            raise SandboxUserUnsupportedError(str(error)) from error
        if done.truncated:
            raise OutputLimitExceededError("10 MiB", None)
        said = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
        return ExecResult(done.exit_code == 0, done.exit_code if done.exit_code is not None else -1, *said)

    async def write_file(self, file, contents):
        """Write a file as the agent's user."""
        data = contents.encode() if isinstance(contents, str) else contents
        await self._program(WRITE, file, stdin=data)

    async def read_file(self, file, text=True):
        """Read a file as the agent's user."""
        data = await self._program(READ, file, str(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE))
        return data.decode() if text else data

    async def _program(self, script, file, *more, stdin=None):
        path = str(PurePosixPath(WORKSPACE) / file)
        argv = ("python3", "-I", "-c", script, path, *more)
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE + 1
        done = await self.sandbox.run(argv, cwd="/", stdin=stdin, limit_bytes=limit, timeout=LONGEST)
        if done.exit_code == TOO_LONG:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        if done.exit_code == errno.EISDIR:
            raise IsADirectoryError(errno.EISDIR, "Is a directory.", file)
        if done.exit_code in (errno.EACCES, errno.EROFS):
            raise PermissionError(errno.EACCES, "Permission denied.", file)
        if done.exit_code in (errno.ENOENT, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory.", file)
        assert done.exit_code == 0, done
        return done.stdout
