"""Configuration: one TOML file and the variables `SUBAGENTS_*`, checked whole before anything starts.

Every mistake is told with its place, the key and what is allowed. Unknown keys are mistakes.
"""

from acp_runtime.config.config import Config, DaemonConfig, OneShot, UsualModel
from acp_runtime.config.load import load
from acp_runtime.config.mistakes import ConfigError
from acp_runtime.config.table import NAME

__all__ = ["NAME", "Config", "ConfigError", "DaemonConfig", "OneShot", "UsualModel", "load"]
