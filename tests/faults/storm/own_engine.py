"""An engine of a storm's own, to be ended: a dockerd in a network namespace of its own, with folders of its own.

Needs root. Its containers have no network, so it needs none; and nothing that others use is touched.
"""

import gc
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
import docker.errors

from acp_runtime.detached import wait_for_end

START_SECONDS = 60.0
END_SECONDS = 60.0
LOOK_SECONDS = 0.1
API = "1.41"  # given, so that a client can be made, and closed, where nobody answers
ALONE = 'ip link set lo up 2>/dev/null; exec "$0" "$@"'


@contextmanager
def own_engine(image: str, *, live_restore: bool) -> Iterator["OwnEngine"]:
    """Have an engine with this image for this process and those that it starts."""
    engine = OwnEngine(live_restore)
    usual = os.environ.get("DOCKER_HOST")
    try:
        engine.start()
        engine.copy_image(image)
        os.environ["DOCKER_HOST"] = engine.host
        yield engine
    finally:
        if usual is None:
            os.environ.pop("DOCKER_HOST", None)
        else:
            os.environ["DOCKER_HOST"] = usual
        engine.remove()
        gc.collect()  # the sockets that docker-py left open, while their warnings are expected


@dataclass
class OwnEngine:
    """One engine, from `start` to `remove`. `live_restore`: containers outlive the daemon."""

    live_restore: bool
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="eng-")))
    pid: int = 0

    @property
    def host(self) -> str:
        return f"unix://{self.root}/s"

    def start(self) -> "OwnEngine":
        """Start the daemon and return once it answers."""
        self._forget_dead()
        folders = ["--data-root", str(self.root / "d"), "--exec-root", str(self.root / "x")]
        argv = ["dockerd", *folders, "--pidfile", str(self.root / "pid"), "-H", self.host, "--bridge", "none"]
        argv += ["--iptables=false", "--ip-masq=false", *(["--live-restore"] if self.live_restore else [])]
        with (self.root / "log").open("ab") as log:
            process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", ALONE, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.pid = process.pid
        process.returncode = 0  # it outlives whoever reads this, or is ended by `end`
        until = time.perf_counter() + START_SECONDS
        while not self._answers():
            assert time.perf_counter() < until, (self.root / "log").read_text()[-3000:]
            time.sleep(LOOK_SECONDS)
        return self

    def _forget_dead(self) -> None:
        """Delete the pid file of a containerd that died with its daemon; a zombie would be taken for a living one."""
        path = self.root / "x" / "containerd" / "containerd.pid"
        if path.exists() and wait_for_end(int(path.read_text()), LOOK_SECONDS * 20):
            path.unlink(missing_ok=True)

    def _answers(self) -> bool:
        with suppress(docker.errors.DockerException, OSError), closing(self._client(5)) as client:
            return bool(client.ping())
        return False

    def _client(self, seconds: int) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.host, version=API, timeout=seconds)

    def copy_image(self, name: str) -> None:
        """Take an image over from the usual engine."""
        with closing(docker.from_env(timeout=120)) as usual, closing(self._client(120)) as own:
            own.images.load(b"".join(usual.images.get(name).save(named=name)))

    def end(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        assert wait_for_end(self.pid, END_SECONDS), f"the engine goes on after {number.name}"

    def remove(self) -> None:
        """End the engine and whatever ran in it, and remove its folders."""
        with suppress(docker.errors.DockerException, OSError), closing(self._client(30)) as client:
            for each in client.containers.list(all=True):
                each.remove(force=True)
        self.end(signal.SIGTERM)
        for pid in self._rest():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for_end(pid, END_SECONDS)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (target := line.split()[1]).startswith(f"{self.root}/"):
                subprocess.run(["umount", "--lazy", target], check=False)
        shutil.rmtree(self.root)

    def _rest(self) -> list[int]:
        """Return what runs with a folder of this engine among its arguments: its containerd, and shims."""
        found = []
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if f"{self.root}/".encode() in each.read_bytes():
                    found.append(int(each.parent.name))
        return found
