"""The build hook: compiles our programs for containers and puts them into the wheel.

An editable install gets them too: they are compiled into the checkout, where the package finds them. The sdist
carries the sources only.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["ProgramsHook"]


class ProgramsHook(BuildHookInterface[Any]):
    """Runs `build.py` of this checkout before a wheel is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's signature
        folder = Path(self.root, "sandbox", "programs")
        for path in _load(folder / "build.py").build(folder / "bin", self.app.display_info):
            build_data["artifacts"].append(path.relative_to(self.root).as_posix())


def _load(path: Path) -> Any:
    """Import the build script, whichever packages are importable while building."""
    spec = importlib.util.spec_from_file_location("programs_build", path)
    if spec is None or spec.loader is None:
        sys.exit(f"The build script {path} cannot be loaded; the source tree is incomplete.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
