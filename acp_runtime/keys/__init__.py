"""Where the key of a model comes from: a variable, a file, the keychain of the desktop, or a command."""

from acp_runtime.keys.secret import Secret
from acp_runtime.keys.source import KeySource, key_source

__all__ = ["KeySource", "Secret", "key_source"]
