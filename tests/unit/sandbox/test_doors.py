"""Docker has one door in the sandbox, and what it knows of agents is nothing."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "sandbox"


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def importers(module: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(name == module or name.startswith(f"{module}.") for name in imported(path))
    }


@pytest.mark.parametrize(
    ("module", "doors"),
    [
        ("docker", {"client.py"}),
        ("requests", {"client.py"}),
        ("sandbox.client", {"engine.py"}),
        ("tenacity", {"client.py", "engine.py"}),
    ],
)
def test_one_door(module, doors):
    assert importers(module) == doors
