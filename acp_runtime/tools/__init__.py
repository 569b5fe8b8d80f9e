"""The tools that models call: one table for every door (MCP, the ACP proxy, HTTP, a host in Python)."""

from acp_runtime.tools.limits import Limits
from acp_runtime.tools.tool import Answer, Defaults, Desk, Tool
from acp_runtime.tools.toolbox import TOOLSETS, Toolbox

__all__ = ["TOOLSETS", "Answer", "Defaults", "Desk", "Limits", "Tool", "Toolbox"]
