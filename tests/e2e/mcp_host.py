"""A host in a test: it starts MCP servers and hooks as its children, through a shell as hosts do.

Lines on standard input say what to do: `mcp ARGUMENTS` starts a server and greets it; `hook SESSION [new]` runs a hook
of this session, for a session that goes on under a new id with `new`. One line of JSON answers each.
"""

import json
import subprocess
import sys
from pathlib import Path

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a host", "version": "1"}}
HOOK = """
import json, sys
from pathlib import Path
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.mcp.host import host_of
from acp_runtime.mcp.identity import parent_name, root_of
from acp_runtime.mcp.registry import Registry, Seeker
from acp_runtime.places import environment, runtime_dir

client, session, new = sys.argv[1], sys.argv[2], "new" in sys.argv[3:]
parent = parent_name(client, Path(), session)
seeker = Seeker(parent, client, str(root_of(Path())), host_of(client))
registry = Registry(runtime_dir(environment()))
if new:
    found = registry.succeed(seeker)
    given = {"parent": found, "alias": parent}
else:
    found = registry.claim(seeker)
    given = {"parent": parent, "alias": found}
if found is not None:
    UnixClient().call("alias", None, **given)
print(json.dumps({"parent": parent, "found": found}))
"""


def greet(server: "subprocess.Popen[bytes]") -> None:
    request = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
    server.stdin.write(json.dumps(request).encode() + b"\n")
    server.stdin.flush()
    server.stdout.readline()


def main() -> None:
    client, servers = Path(sys.argv[0]).name, []
    for line in sys.stdin:
        what, *words = line.split()
        if what == "mcp":
            argv = [sys.executable, "-m", "acp_runtime.cli.main", "mcp", "--client", client, *words]
            shell = ["sh", "-c", '"$@"; :', "sh", *argv]
            servers.append(subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            greet(servers[-1])
            print(json.dumps({}), flush=True)
        else:
            shell = ["sh", "-c", '"$@"; :', "sh", sys.executable, "-c", HOOK, client, *words]
            print(subprocess.run(shell, capture_output=True, check=True, text=True).stdout.strip(), flush=True)
    for server in servers:
        server.stdin.close()
        server.wait(20)


main()
