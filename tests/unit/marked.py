"""The tests of this project and the rows of the requirements that they say they show, read from their syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
Tests = dict[str, tuple[str, ...]]


def marked() -> Tests:
    """Return the rows that each marked test names, by its node id."""
    return {node: rows for node, rows in all_tests().items() if rows}


def all_tests() -> Tests:
    """Return every test with the rows that it, its class or its module names."""
    return {
        f"{path.relative_to(ROOT)}::{name}": rows
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name, rows in _tests(ast.parse(path.read_text(encoding="utf-8")))
    }


def _tests(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    outer = tuple(row for node in tree.body for row in _module_rows(node))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            inner = outer + _rows(node.decorator_list)
            yield from ((f"{node.name}::{name}", rows) for name, rows in _functions(node.body, inner))
    yield from _functions(tree.body, outer)


def _functions(body: list[ast.stmt], outer: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, outer + _rows(node.decorator_list)


def _module_rows(node: ast.stmt) -> tuple[str, ...]:
    named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    return _rows([node.value]) if named and isinstance(node, ast.Assign) else ()


def _rows(marks: list[ast.expr]) -> tuple[str, ...]:
    calls = [each for mark in marks for each in ast.walk(mark) if isinstance(each, ast.Call)]
    names = [call for call in calls if ast.unparse(call.func) == "pytest.mark.requirement"]
    return tuple(arg.value for call in names for arg in call.args if isinstance(arg, ast.Constant))
