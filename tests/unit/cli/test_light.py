"""What a verb does not load before it needs it: a person, an editor or a prompt waits for that."""

import subprocess
import sys

import pytest

SCREENS = ("textual", "starlette", "uvicorn")
PROTOCOLS = ("mcp", "mcp_types", "acp")
ENGINE = ("docker", "requests")
MODELS = ("pydantic", "asyncio", "sqlite3")


@pytest.mark.parametrize(
    ("module", "left_out"),
    [
        ("acp_runtime.cli.main", (*SCREENS, *PROTOCOLS, *ENGINE, *MODELS)),
        ("acp_runtime.hooks.hook", (*SCREENS, *PROTOCOLS, *ENGINE, *MODELS)),
        ("acp_runtime.cli.acp", (*SCREENS, *PROTOCOLS, *ENGINE, "pydantic", "sqlite3")),
        ("acp_runtime.cli.acp_sandbox", (*SCREENS, *PROTOCOLS)),
        ("acp_runtime.client", (*SCREENS, *PROTOCOLS, *ENGINE)),
    ],
)
def test_a_module_leaves_out_what_only_others_need(module: str, left_out: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*(set({left_out!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == []
