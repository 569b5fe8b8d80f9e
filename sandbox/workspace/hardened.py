"""How git is called on folders and repositories that nobody vouches for, on the host and in a sandbox alike.

Promises, for every git that runs with `hardened_environment` and an explicit repository of ours:
- no configuration of the machine, the user or the folder is in force, only what stands here;
- no hook, filter, file system monitor, external diff, pager, editor, credential helper or transport can start;
- attributes change no byte: with `RAW_ATTRIBUTES` in its `info/attributes` a file's content is its blob.
"""

from collections.abc import Mapping

__all__ = ["RAW_ATTRIBUTES", "hardened_environment"]

# `info/attributes` is stronger than every .gitattributes. Line ends, `$Id$`, filters and encodings stay as they are;
# and no file can ask to be shown as binary, which would hide a change from whoever reads the patch.
# The `!` is for an encoding: git dies of an encoding that is "set to false".
RAW_ATTRIBUTES = b"* -text -ident -filter !working-tree-encoding !diff\n"

_CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.sshCommand": "false",
    "core.askPass": "false",
    "core.editor": "false",
    "core.pager": "cat",
    "core.autocrlf": "false",
    "core.untrackedCache": "false",
    "core.splitIndex": "false",
    "core.commitGraph": "false",  # a forged one could hide commits from the pack
    "core.multiPackIndex": "false",
    "core.protectNTFS": "true",  # as the user's git has it, which is to apply the patch
    "core.quotePath": "true",
    "core.compression": "1",  # packs live for seconds
    "core.fsync": "none",  # as do our repositories on the host; a sandbox's volume is written out by its engine
    "credential.helper": "",
    "fastimport.unpackLimit": "0",  # unpacking touches the times of loose objects in the user's repository
    "gc.auto": "0",
    "maintenance.auto": "false",
    "init.defaultBranch": "main",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "safe.bareRepository": "explicit",
}

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C",
    "TZ": "UTC",
}


def hardened_environment() -> Mapping[str, str]:
    """All variables git gets but PATH and those that name its repository, index and work tree."""
    settings = {"GIT_CONFIG_COUNT": str(len(_CONFIGURATION))}
    for number, (key, value) in enumerate(_CONFIGURATION.items()):
        settings[f"GIT_CONFIG_KEY_{number}"] = key
        settings[f"GIT_CONFIG_VALUE_{number}"] = value
    return _ENVIRONMENT | settings
