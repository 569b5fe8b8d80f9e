"""The end of a run: as facts for a program, and as text for a person."""

import base64
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from acp_runtime.cli.codes import Exit
from acp_runtime.core.model import MAX_RESULT_CHARS
from acp_runtime.core.plaintext import one_line, printable, set_back
from acp_runtime.manager.launcher import CheckResult, Work
from acp_runtime.views import SubagentView


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. `work` is None when nothing could be taken out, `check` when there was none to its end."""

    view: SubagentView
    work: Work | None
    check: CheckResult | None
    code: Exit

    @property
    def sentence(self) -> str:
        """The outcome on one line."""
        task = self.view.newest
        if self.view.held:
            return f"{self.view.name}: nobody is here to answer: {self.view.held[0].title}"
        return f"{self.view.name}: {task.headline}: {task.cause}"

    @property
    def check_sentence(self) -> str:
        """The end of the check, empty when there was none."""
        return f"the check exited with {self.check.exit_code}" if self.check is not None else ""

    def facts(self) -> dict[str, object]:
        """Return the result line of the JSON form; `docs/cli.md` lists its keys."""
        view, task, work = self.view, self.view.newest, self.work
        return {
            "subagent": view.id,
            "name": view.name,
            "task": task.id,
            "state": "waiting" if view.held else task.state,
            "verdict": task.verdict,
            "cause": task.cause,
            "error_kind": view.error_kind,
            "stop_reason": task.stop_reason,
            "message": task.result,
            "question": view.held[0].title if view.held else None,
            "tools": {"completed": task.tools_completed, "failed": task.tools_failed},
            "spent": asdict(view.spent),
            "stderr": task.stderr_tail,
            "files_changed": work.files if work is not None else None,
            **_patch(work),
            "notices": work.notices if work is not None else (),
            "check": asdict(self.check) if self.check is not None else None,
            "exit_code": int(self.code),
        }

    def text(self, patch_path: Path | None) -> str:
        """Return the last message, the outcome, the diffstat, the check, and how to apply the work."""
        task, work = self.view.newest, self.work
        outcome = f"{self.view.name}: completed" if task.headline == "completed" else one_line(self.sentence, 2_000)
        parts = [self._set_back(task.result).strip("\n"), outcome]
        if len(task.result) >= MAX_RESULT_CHARS:
            parts.insert(1, f"(the message goes on; these are its first {MAX_RESULT_CHARS} characters)")
        if work is not None and work.files:
            parts.append(printable(work.diffstat).rstrip())
        if work is not None and work.notices:
            parts.append("\n".join(printable(notice) for notice in work.notices))
        if self.check is not None:
            parts.append(f"{self.check_sentence}\n{self._set_back(self.check.output).rstrip()}".rstrip())
        if patch_path is not None:
            parts.append(self.apply_line(patch_path))
        return "\n\n".join(part for part in parts if part) + "\n"

    def _set_back(self, text: str) -> str:
        """Return what the agent, or a check in its sandbox, says: no line of it passes for one of ours."""
        return set_back(text, rf"{re.escape(self.view.name)}:|apply it with:|the check exited|\(the message goes on")

    def apply_line(self, patch_path: Path) -> str:
        """Return the line that says how the work gets into the folder; what follows the colon can be pasted."""
        folder, patch = shlex.quote(self.view.workspace), shlex.quote(str(patch_path.absolute()))
        return f"apply it with: git -C {folder} apply {patch}"


def _patch(work: Work | None) -> dict[str, object]:
    """Return the patch as text, or in base 64 when it is no UTF-8: it holds lines of another encoding."""
    if work is None:
        return {"patch": None}
    try:
        return {"patch": work.patch.decode()}
    except UnicodeDecodeError:
        return {"patch": None, "patch_base64": base64.b64encode(work.patch).decode()}
