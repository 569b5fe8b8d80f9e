"""The notes by which a hook finds the MCP process of its session."""

from pathlib import Path

from acp_runtime.mcp.host import Host
from acp_runtime.mcp.registry import FOLDER, Note, Registry, Seeker


def test_a_session_is_found_though_the_note_of_another_process_goes_meanwhile(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "run")
    note = Note("mine", "claude", "/w", 7, 70)
    with registry.registered(note, "claude:former /w"):
        # Listed, and gone when it is looked at.
        (tmp_path / "run" / FOLDER / "1-gone.json").symlink_to(tmp_path / "gone")
        assert registry.succeed(Seeker("claude:new /w", "claude", "/w", Host(7, 70))) == "claude:former /w"
