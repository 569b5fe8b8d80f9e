"""Runs the guest's commands as processes of this machine, in folders instead of volumes: for tests and development."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.workspace.process import Ended, run_process

__all__ = ["LocalRunner"]


@dataclass(frozen=True)
class LocalRunner:
    """A Runner without a sandbox: nothing separates the commands from this machine but their own care."""

    path: str

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | AsyncIterator[bytes] | None,
        limit_bytes: int,
        timeout: float,  # noqa: ASYNC109 - the seam's name; the process is killed as well
    ) -> Ended:
        """Run to the end with exactly `env` and PATH; raises CommandMissing and CommandTimeout."""
        return await run_process(
            argv, cwd=Path(cwd), env={**env, "PATH": self.path}, stdin=stdin, output=limit_bytes, seconds=timeout
        )
