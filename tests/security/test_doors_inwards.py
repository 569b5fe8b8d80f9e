"""The ways into what an agent has, or had: nothing of this side follows what the agent left there."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNPACKERS = {"extractall", "extract", "unpack_archive"}


def calls(name: str) -> set[str]:
    """Return the functions of the program that call a method of this name, as `file:function`."""
    found = set()
    for path in [*(ROOT / "sandbox").rglob("*.py"), *(ROOT / "acp_runtime").rglob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
                if any(isinstance(each, ast.Attribute) and each.attr == name for each in called):
                    found.add(f"{path.relative_to(ROOT)}:{function.name}")
    return found


@pytest.mark.requirement("T11")
def test_the_engine_unpacks_nothing_where_an_agent_has_been() -> None:
    """It follows links that are there. Both containers below never run, and no agent has written to their root."""
    assert calls("put_archive") == {
        "sandbox/engine.py:put_archive",
        "sandbox/container.py:_give_to_agent",  # the empty folders of volumes, in a container made for that
        "sandbox/programs_volume.py:fill",  # our programs, into a volume that agents only read
        "sandbox/programs_volume.py:filled",  # which holds the one above
    }


@pytest.mark.requirement("T10", "T11")
def test_no_archive_of_an_agent_is_unpacked_on_this_side() -> None:
    assert {name: calls(name) for name in UNPACKERS} == {name: set() for name in UNPACKERS}
