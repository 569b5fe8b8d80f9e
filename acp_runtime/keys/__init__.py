"""Where the key of a model comes from: a variable, a file, the keychain of the desktop, a command, or a login."""

from acp_runtime.keys.key import Key, LiveKey, key_in_use, key_or_none_yet
from acp_runtime.keys.login import serves_login
from acp_runtime.keys.secret import Secret
from acp_runtime.keys.source import KeySource, is_login, key_source

__all__ = [
    "Key", "KeySource", "LiveKey", "Secret", "is_login", "key_in_use", "key_or_none_yet", "key_source", "serves_login",
]  # fmt: skip
