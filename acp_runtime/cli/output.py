"""What a run hands back on standard output or in a file: a patch, text for a person, or JSON lines."""

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from acp_runtime.cli.exit_codes import Exit
from acp_runtime.core.events import Event
from acp_runtime.core.plaintext import printable
from acp_runtime.manager.launcher import CheckResult, Work
from acp_runtime.store.codec import kind_of
from acp_runtime.views import SubagentView

Format = Literal["patch", "text", "json"]


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a run."""

    view: SubagentView
    work: Work | None
    check: CheckResult | None
    code: Exit


class Output:
    """Where the data goes. Opened before anything starts, so that a file that cannot be written costs no run."""

    def __init__(self, form: Format, path: Path | None) -> None:
        self.form = form
        self._file: BinaryIO | None = path.open("wb") if path is not None else None

    def event(self, seq: int, event: Event) -> None:
        """Hand out one event; only the JSON form has them."""
        if self.form == "json":
            self._json({"type": "event", "seq": seq, "kind": kind_of(type(event)), **asdict(event)})

    def result(self, result: Result, patch_path: Path | None) -> None:
        """Hand out the end of the run in the chosen form."""
        match self.form:
            case "patch":
                self._write(result.work.patch if result.work else b"")
            case "json":
                self._json({"type": "result", **_facts(result)})
            case "text":
                self._write(render_text(result, patch_path).encode("utf-8", "replace"))
        self._finish()

    def _json(self, value: dict[str, object]) -> None:
        self._write(json.dumps(value, ensure_ascii=True, default=str).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        target = self._file or sys.stdout.buffer
        target.write(data)
        target.flush()

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()


def _facts(result: Result) -> dict[str, object]:
    view, task = result.view, result.view.newest
    work = result.work
    return {
        "subagent": view.id,
        "name": view.name,
        "task": task.id,
        "state": task.state,
        "verdict": task.verdict,
        "cause": task.cause,
        "error_kind": view.error_kind,
        "stop_reason": task.stop_reason,
        "message": task.result,
        "tools": {"completed": task.tools_completed, "failed": task.tools_failed},
        "files_changed": work.files if work is not None else None,
        "patch": work.patch.decode("utf-8", "surrogateescape") if work is not None else None,
        "check": asdict(result.check) if result.check is not None else None,
        "exit_code": int(result.code),
    }


def render_text(result: Result, patch_path: Path | None) -> str:
    """Return the end of a run for a person: last message, outcome, diffstat, check, and how to apply the work."""
    task, work = result.view.newest, result.work
    parts = [printable(task.result).strip(), f"{result.view.name}: {task.headline}" + _why(result)]
    if work is not None and work.files:
        parts.append(printable(work.diffstat).rstrip())
    if result.check is not None:
        parts.append(f"check exited with {result.check.exit_code}:\n{printable(result.check.output).rstrip()}")
    if patch_path is not None:
        folder = shlex.quote(result.view.workspace)
        parts.append(f"apply it with: git -C {folder} apply {shlex.quote(str(patch_path))}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _why(result: Result) -> str:
    task = result.view.newest
    if task.headline == "completed":
        return ""
    return f": {printable(task.cause)}"
