"""What a reader of the patch should look at first: it acts on the user's side without being asked."""

from collections.abc import Mapping

from sandbox.workspace.text import named

__all__ = ["cautions"]

LINK_MODE = b"120000"
# Editors, shells, git, agents and build servers read these by themselves once they lie in a folder; in any case of
# letters, since some file systems take all for one.
FOLDERS = {b".vscode", b".idea", b".claude", b".cursor", b".devcontainer", b".husky", b".githooks", b".github"}
FOLDERS |= {b".codex", b".gemini", b".opencode", b".zed", b".windsurf"}
FILES = {b".envrc", b".mcp.json", b".gitattributes", b".gitmodules", b".gitconfig", b".ripgreprc", b".bashrc"}
FILES |= {b".zshrc", b".profile", b".pre-commit-config.yaml", b"opencode.json", b"opencode.jsonc"}
FILES |= {b"agents.md", b"claude.md", b"gemini.md", b".cursorrules", b".npmrc"}


def cautions(changes: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Sentences on some of the changed paths; `changes` are those of `git diff-index --raw`, by path."""
    present = {path: change.split(b" ")[1] for path, change in changes.items() if change.split(b" ")[1] != b"000000"}
    obeyed = [path for path in present if _is_obeyed(path)]
    links = [path for path, mode in present.items() if mode == LINK_MODE]
    reasons = (
        ("Read these before you use the folder, for tools obey them unasked", [*obeyed, *_repositories(present)]),
        ("These are symbolic links", links),
    )
    return tuple(f"{reason}: {named(paths)}." for reason, paths in reasons if paths)


def _is_obeyed(path: bytes) -> bool:
    *folders, name = _folded(path).split(b"/")
    return name in FILES or not FOLDERS.isdisjoint(folders)


def _repositories(paths: Mapping[bytes, bytes]) -> list[bytes]:
    """Folders with a changed HEAD and config: bare repositories, which git obeys when it is started inside."""
    folded = {_folded(path) for path in paths}
    heads = (path[:-4] for path in paths if _folded(path).rpartition(b"/")[2] == b"head")
    return [folder for folder in heads if _folded(folder) + b"config" in folded]


def _folded(path: bytes) -> bytes:
    return path.decode(errors="surrogateescape").casefold().encode(errors="surrogateescape")
