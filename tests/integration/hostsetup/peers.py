"""Scripted peers of the host set-up: an engine that answers on a unix socket, and a dockerd to be started."""

import contextlib
import http.server
import json
import socketserver
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

from hostsetup.endpoint import Endpoint

BOUND = 30.0  # seconds; a hang, not a speed


def at(path):
    return Endpoint(f"unix://{path}", "the default socket", chosen=False)


class ScriptedEngine:
    """Holds containers, volumes and images as the Engine API shows them, and notes what is deleted."""

    def __init__(self):
        self.objects = {"containers": {}, "volumes": {}, "images": {}}

    def add(self, kind, name, *labels, state="exited"):
        shown = {"Labels": dict.fromkeys(labels, "1") or None}
        shown |= {
            "containers": {"Id": name, "Names": [f"/{name}"], "State": state},
            "volumes": {"Name": name},
            "images": {"Id": name, "RepoTags": [name]},
        }[kind]
        self.objects[kind][name] = shown

    def names(self):
        return {name for kind in self.objects.values() for name in kind}

    def answer(self, path):
        kind = path.split("/")[1]
        listed = list(self.objects[kind].values())
        return {"Volumes": listed or None} if kind == "volumes" else listed


@contextlib.contextmanager
def listening(path, engine=None):
    """The scripted engine behind a unix socket at `path`."""
    engine = engine or ScriptedEngine()

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version = "Docker/1"
        sys_version = ""

        def do_GET(self):
            body = b"OK" if self.path == "/_ping" else json.dumps(engine.answer(self.path.split("?")[0])).encode()
            self.reply(200, body)

        def do_DELETE(self):
            _, kind, name = unquote(self.path.split("?")[0]).split("/", 2)
            self.reply(204 if engine.objects[kind].pop(name, None) else 404, b"")

        def reply(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

        def address_string(self):
            return "peer"

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join(BOUND)
            Path(path).unlink()


DOCKERD = """#!{python} -IB
import http.server, json, os, socketserver, sys
{first}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
    def address_string(self): return "peer"
files = sorted(os.listdir("/proc/self/fd"))
with open("{folder}/seen.json", "w") as seen:
    json.dump({{"env": dict(os.environ), "files": files, "umask": os.umask(0o22), "argv": sys.argv[1:]}}, seen)
socketserver.UnixStreamServer("{folder}/docker.sock", Handler).serve_forever()
"""


def write_dockerd(folder, *, first=""):
    """A program named dockerd that runs the statement `first`, notes how it was started, and then answers."""
    path = folder / "dockerd"
    path.write_text(DOCKERD.format(python=sys.executable, folder=folder, first=first))
    path.chmod(0o755)
    return path
