"""The tooled agent as one text, for `python -c` in a container that holds nothing but python3."""

from pathlib import Path

_HERE = Path(__file__).parent


def tooled_agent(python: str) -> tuple[str, ...]:
    """Return its argv."""
    base, own = ((_HERE / name).read_text(encoding="utf-8") for name in ("scripted_agent.py", "tooled_agent.py"))
    lines = (
        "import sys, types",
        "sys.modules['scripted_agent'] = base = types.ModuleType('scripted_agent')",
        f"exec({base!r}, base.__dict__)",
        f"exec({own!r}, {{'__name__': '__main__', '__file__': '/a/b.py'}})",
    )
    return python, "-c", "\n".join(lines)
