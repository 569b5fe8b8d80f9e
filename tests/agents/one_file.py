"""Agents that stand on another one, as one text: for `python -c` in a container that holds nothing but python3."""

from pathlib import Path

_HERE = Path(__file__).parent


def tooled_agent(python: str) -> tuple[str, ...]:
    """Return the argv of the tooled agent."""
    return one_file(python, "scripted_agent", "tooled_agent")


def leading_agent(python: str) -> tuple[str, ...]:
    """Return the argv of the leading agent."""
    return one_file(python, "numbering_agent", "leading_agent")


def one_file(python: str, below: str, name: str) -> tuple[str, ...]:
    """Return the argv of an agent that imports the one below it."""
    base, own = ((_HERE / f"{each}.py").read_text(encoding="utf-8") for each in (below, name))
    lines = (
        "import sys, types",
        f"sys.modules[{below!r}] = base = types.ModuleType({below!r})",
        f"exec({base!r}, base.__dict__)",
        f"exec({own!r}, {{'__name__': '__main__', '__file__': '/a/b.py'}})",
    )
    return python, "-c", "\n".join(lines)
