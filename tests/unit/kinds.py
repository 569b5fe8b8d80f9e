"""Every kind of error that the sources can raise or return, read from their syntax trees."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from acp_runtime.core.model import Reason

ROOT = Path(__file__).parents[2]
# Where a call of this name has its kind: the number of the argument. Some carry one on that was found elsewhere.
CARRIERS = {
    "Rejected": 0,
    "LaunchError": 0,
    "GatewayError": 0,
    "DaemonError": 0,
    "Refusal": 1,
    "NameRefused": 0,
    "Ending": 3,
    "failure": 1,
    "_not_ok": 1,
    "StartBroke": 2,
}


def kinds() -> dict[str, list[str]]:
    """Return each kind with the places that it comes from."""
    found: dict[str, list[str]] = defaultdict(list)
    paths = [path for folder in ("acp_runtime", "sandbox") for path in sorted((ROOT / folder).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    everywhere = {name: value for tree in trees.values() for name, value in _constants(tree)}
    for path, tree in trees.items():
        constants = everywhere | dict(_constants(tree))
        for node in ast.walk(tree):
            for kind in _in(node, constants):
                found[kind].append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    for reason in Reason:
        found[str(reason)].append("acp_runtime/core/model.py: Reason")
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        target, value = _assigned(node)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield target, value.value


def _assigned(node: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.value
    return "", None


def _in(node: ast.AST, constants: dict[str, str]) -> Iterator[str]:
    for value in _places(node):
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
            yield value.value
        elif isinstance(value, ast.Name) and value.id in constants:
            yield constants[value.id]
        elif isinstance(value, ast.IfExp):
            yield from (each.value for each in (value.body, value.orelse) if isinstance(each, ast.Constant))


def _places(node: ast.AST) -> Iterator[ast.expr | None]:
    """Yield the expressions of a node that give a kind."""
    if isinstance(node, ast.ClassDef) and "never raised itself" not in (ast.get_docstring(node) or ""):
        yield from (value for name, value in map(_assigned, node.body) if name == "kind")
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        number = CARRIERS.get(name)
        if number is not None and len(node.args) > number:
            yield node.args[number]
        if number is not None:
            yield from (each.value for each in node.keywords if each.arg == "kind")
    if isinstance(node, ast.Dict):
        keys = {
            key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
        }
        if "error" in keys and "kind" in keys:
            yield keys["kind"]
    if isinstance(node, ast.FunctionDef) and node.name == "kind_of" and ast.unparse(node.returns or node) == "str":
        yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Return))
