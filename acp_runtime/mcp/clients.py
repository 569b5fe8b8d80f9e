"""The clients whose configuration can be written: where it is, and how it names an MCP server.

`name` is what `--client` says, in the command of the server and in that of the client's hooks: the parent of both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

SERVER: Final = "subagents"
# Where this user's daemon is found, and the engine. Codex passes on a few variables only, and those that it is told.
PASSED: Final = (
    "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "SUBAGENTS_CONFIG",
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
)  # fmt: skip
# Tools end below 45 s; a client that gives up before would not hear them.
CALL_SECONDS: Final = 60

Environ = Mapping[str, str]
Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """One client. Of several files the first that is there is meant, else the first; `key` holds the servers."""

    name: str
    user: Callable[[Environ], tuple[Path, ...]]
    project: tuple[str, ...]
    key: str
    entry: Callable[[Command], dict[str, Any]]
    form: Literal["json", "toml"] = "json"
    more: Command = ()

    def file(self, environ: Environ, project: Path | None) -> Path:
        """Return the user's file, or that of a project."""
        paths = self.user(environ) if project is None else tuple(project / each for each in self.project)
        return next((path for path in paths if path.exists()), paths[0])

    def server(self, program: Command, more: Command = ()) -> dict[str, Any]:
        """Return the entry of our server, started by a program with more options."""
        return self.entry((*program, "mcp", "--client", self.name, *self.more, *more))


def home(environ: Environ, variable: str, folder: str) -> Path:
    """Return the folder that a variable names, else one in the user's home."""
    return Path(environ.get(variable) or Path(environ.get("HOME", "/")) / folder)


def called_of(words: Sequence[str]) -> list[str]:
    """Return what a command line says to our program, wherever that is installed; empty where it starts another."""
    if words and Path(words[0]).name == "subagents":
        return list(words[1:])
    at = words.index("-m") + 2 if "-m" in words else 0
    return list(words[at:]) if words[at - 1 : at] == ["acp_runtime.cli.main"] else []


def _split(command: Command) -> dict[str, Any]:
    return {"command": command[0], "args": list(command[1:])}


CLIENTS: Final = {
    client.name: client
    for client in (
        Client(
            "claude",
            lambda environ: (home(environ, "CLAUDE_CONFIG_DIR", "") / ".claude.json",),
            (".mcp.json",),
            "mcpServers",
            lambda command: {"type": "stdio", **_split(command), "env": {}},
        ),
        Client(
            "codex",
            lambda environ: (home(environ, "CODEX_HOME", ".codex") / "config.toml",),
            (".codex/config.toml",),
            "mcp_servers",
            lambda command: {**_split(command), "env_vars": list(PASSED), "tool_timeout_sec": CALL_SECONDS},
            "toml",
        ),
        Client(
            "opencode",
            lambda environ: tuple(
                home(environ, "XDG_CONFIG_HOME", ".config") / "opencode" / name
                for name in ("opencode.json", "opencode.jsonc")
            ),
            ("opencode.json", "opencode.jsonc"),
            "mcp",
            lambda command: {"type": "local", "command": list(command), "enabled": True, "timeout": 60_000},
        ),
        Client(
            "gemini",
            lambda environ: (home(environ, "GEMINI_CLI_HOME", "") / ".gemini" / "settings.json",),
            (".gemini/settings.json",),
            "mcpServers",
            lambda command: {**_split(command), "timeout": CALL_SECONDS * 1000},
        ),
        Client(
            "zed",
            lambda environ: (home(environ, "XDG_CONFIG_HOME", ".config") / "zed" / "settings.json",),
            (".zed/settings.json",),
            "context_servers",
            lambda command: {"source": "custom", **_split(command), "env": {}},
        ),
        Client(
            "cursor",
            lambda environ: (home(environ, "", "") / ".cursor" / "mcp.json",),
            (".cursor/mcp.json",),
            "mcpServers",
            _split,
            # It starts servers in the home of its user.
            more=("--workspace", "${workspaceFolder}"),
        ),
    )
}
