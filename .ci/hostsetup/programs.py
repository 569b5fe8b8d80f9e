"""Programs run on behalf of the set-up.

Promises: no stdin, a bound on every run, output in a log file that no pipe depends on (a daemon that a package
starts may keep the file open without holding us up), a sign of life while it takes long, and nothing of ours left
running when the bound passes or the person interrupts.
"""

import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostsetup.talk import Stop, say

SIGN_OF_LIFE_SECONDS = 10.0
LOG_TAIL_BYTES = 16_384
LINE_CHARACTERS = 300
KILL_SECONDS = 10.0
ANSWER_SECONDS = 60.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def with_system_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Add the system's program folders to the end of PATH: su and cron leave out the sbin ones."""
    return {**environ, "PATH": ":".join(part for part in (environ.get("PATH", ""), SYSTEM_PATH) if part)}


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last `count` non-empty lines of a log, each cut at 300 characters; none when it cannot be read."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, source.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = (line.strip() for line in text.replace("\r", "\n").splitlines())
    return [line[:LINE_CHARACTERS] for line in lines if line][-count:]


def quoted(lines: Sequence[str]) -> str:
    """Lines of a program's output, set off so that they cannot be taken for ours; empty when there are none."""
    return "".join(f"\n  | {line}" for line in lines)


def run_logged(argv: Sequence[str], log: Path, *, bound: float, env: Mapping[str, str]) -> int:
    """Run to the end in `/`, output appended to `log`, and return the exit code.

    Raises Stop when the program cannot be started, or does not end within `bound` seconds (it is killed then).
    """
    try:
        with log.open("ab") as sink:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env, cwd="/")
    except OSError as error:
        raise Stop(f"{argv[0]} cannot be run ({error}); see that it is installed and executable.") from error
    try:
        for turn in range(math.ceil(bound / SIGN_OF_LIFE_SECONDS)):
            try:
                return process.wait(SIGN_OF_LIFE_SECONDS)
            except subprocess.TimeoutExpired:
                seconds = (turn + 1) * SIGN_OF_LIFE_SECONDS
                say(f"  … {seconds:.0f} s: {' '.join(last_lines(log, 1)) or 'still working'}"[:120])
    finally:
        _end(process)
    shown = " ".join(argv[:4])
    raise Stop(f"`{shown} …` did not end within {bound:.0f} s and was stopped; its output is in {log}.")


def ask(argv: Sequence[str], *, env: Mapping[str, str], bound: float = ANSWER_SECONDS) -> tuple[int, str]:
    """Run a short question and return exit code and output (both streams); (127, reason) when it cannot be run."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd="/",
            timeout=bound,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(KILL_SECONDS)
