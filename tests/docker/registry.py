"""An image registry on a loopback port, with one image in it; or one that accepts connections and never answers.

The engine takes 127.0.0.0/8 for a registry that needs no TLS, so a real pull is tested without any network.

    with registry({"etc/hello": b"hi"}, architecture="amd64") as host:
        await engine.pull_image(f"{host}/anything:any", on_line)
"""

import contextlib
import hashlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"


@contextlib.contextmanager
def registry(files: dict[str, bytes], architecture: str) -> Iterator[str]:
    """Serve an image of these files under every name and tag; gives host and port."""
    layer = _layer(files)
    config = {"architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]}}
    config |= {"rootfs": {"type": "layers", "diff_ids": [_name(layer)]}, "history": [{"created_by": "test"}]}
    blobs = {_name(blob): blob for blob in (layer, json.dumps(config).encode())}
    parts = [
        {"mediaType": kind, "size": len(blob), "digest": name}
        for kind, (name, blob) in zip((LAYER, CONFIG), blobs.items(), strict=True)
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[1], "layers": parts[:1]}

    class Handler(_Handler):
        content = blobs
        index = json.dumps(manifest).encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextlib.contextmanager
def silent_registry() -> Iterator[str]:
    """Listen and say nothing: what a firewall that drops packets looks like."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def _layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _name(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    content: dict[str, bytes]
    index: bytes

    def do_GET(self):
        kind, _, name = self.path.rpartition("/")
        if self.path == "/v2/":
            self._answer(b"{}", "application/json")
        elif kind.endswith("/manifests"):
            self._answer(self.index, MANIFEST)
        elif kind.endswith("/blobs") and name in self.content:
            self._answer(self.content[name], "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - the name is that of the base class

    def _answer(self, body: bytes, kind: str):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", _name(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        """Keep quiet."""
