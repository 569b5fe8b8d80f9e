"""Where a storm happens: a user with a daemon whose agents are in containers, and what others see of them.

A site can have its host "restarted": later daemons see another boot id and a monotonic clock that began anew, in
namespaces of their own. That needs root.
"""

import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from acp_runtime.manager.run_dir import EPOCH
from acp_runtime.places import FOLDER
from sandbox.ownership import Owner
from sandbox.spec import LABEL
from tests import engine
from tests.agents.one_file import leading_agent
from tests.docker.closure import closure_image
from tests.e2e.daemon_site import MODULE, DaemonSite

AGENT = Path(__file__).parents[2] / "agents" / "numbering_agent.py"
ROOT = Path(__file__).parents[3]
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# What trees may come to: levels, subagents of one that leads at one time, and members of a tree in all its life.
BOUNDS = {"depth": 2, "children": 2, "members": 6}
TREES = f"""
[orchestration]
max_spawn_depth = {BOUNDS["depth"]}
max_concurrent_children = {BOUNDS["children"]}
wakes = 100
[tree_budget]
agents = {BOUNDS["members"]}
[limits]
restarts = 100
backoff = 0.02
request = 30.0
"""
SERVE_SECONDS = 150.0
LEASE = 5.0
KEY = "STORM_MODEL_KEY"
NOW, RUNTIMES = "now", ("rt", "rt-other")
LOCKS = ("daemon.start",)
JOURNAL = "seen.jsonl"
BOOTED = 'mount --bind "$0" "$1"; shift; exec "$@"'


@dataclass
class StormSite(DaemonSite):
    """A user's place. `image` has python3; `tree` is the code that daemons run; `boots` counts restarts of the host.

    `sockets`: `exec` has daemons take the engine for one that shares none, so that they reach all agents over execs.
    `passed`: the variables of this process that the user's processes get. `keyless` daemons get no `KEY`,
    which is else `secret`.
    `trees`: agents may lead others, up to `BOUNDS`; releases from before there were any do not know the keys.
    `runtime`: the folder in which daemons have their folder for sockets. `disk`: one for the journals of agents.
    """

    image: str = ""
    sockets: str = "auto"
    tree: Path = ROOT
    boots: int = 0
    store_id: str = ""
    command: list[str] = field(default_factory=lambda: [*MODULE])

    passed: tuple[str, ...] = ("DOCKER_HOST",)
    keyless: bool = False
    trees: bool = True
    secret: str = field(default_factory=lambda: f"sk-{secrets.token_hex(16)}")
    runtime: str = RUNTIMES[0]
    disk: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.write_config()
        self.move(self.runtime)

    @property
    def socket(self) -> Path:
        """Where the daemon is found, whichever folder it has its socket in."""
        return self.root / NOW / FOLDER / "daemon.sock"

    def move(self, runtime: str) -> None:
        """Have later daemons use another folder for their sockets; clients look there at once."""
        self.runtime = runtime
        (self.root / runtime).mkdir(mode=0o700, exist_ok=True)
        new = self.root / f"{NOW}.new"
        new.symlink_to(runtime)
        new.rename(self.root / NOW)

    def wipe(self, *runtimes: str) -> None:
        """Delete the daemon's folders for sockets, with all that is in them."""
        for each in runtimes:
            shutil.rmtree(self.root / each / FOLDER, ignore_errors=True)

    def write_config(self) -> None:
        source = AGENT.read_text(encoding="utf-8")
        kinds = {"numbering": ("python3", "-c", source), "loading": ("python3", "-c", source, "--load")}
        kinds |= {"leading": leading_agent("python3")} if self.trees else {}
        tables = [f"[agents.{name}]\nargv = {json.dumps(argv)}\n" for name, argv in kinds.items()]
        tables += [TREES] if self.trees else []
        image = f'image = "{self.image}"\n' if self.image else ""
        tables += [f'[sandbox]\nsockets = "{self.sockets}"\n{image}']
        tables += [f"[daemon]\nlease = {LEASE}\n", "[admission]\nper_parent = 40\ntotal = 80\n"]
        self.config.write_text("\n".join(tables), encoding="utf-8")

    @property
    def env(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in self.passed if name in os.environ}
        own = {"PYTHONPATH": str(ROOT), "WATCHED": str(self.watched), "POINTS": str(self.points)}
        own["XDG_RUNTIME_DIR"] = str(self.root / self.runtime)
        own |= {"JOURNALS": str(self.disk)} if self.disk is not None else {}
        return super().env | passed | own | ({} if self.keyless else {KEY: self.secret})

    @property
    def watched(self) -> Path:
        return self.root / "watched.json"

    @property
    def points(self) -> Path:
        return self.root / "points"

    def serve(self, *argv: str) -> int:
        """Have a daemon in the background, and return its pid."""
        words = [*self._boot(), *self.command, "serve", "--idle-exit", "0", *argv]
        env = self.env | {"PYTHONPATH": f"{self.tree}:{ROOT}"}
        done = subprocess.run(
            words, check=False, env=env, cwd=self.root, capture_output=True, text=True, timeout=SERVE_SECONDS
        )
        assert done.returncode == 0, f"{done.stderr}\n{self.log()[-4000:]}"
        hello = self.client.hello()
        self.store_id = str(hello["store"])
        return int(hello["pid"])

    def _boot(self) -> list[str]:
        if not self.boots:
            return []
        boot, clock = self.root / f"boot-{self.boots}", self.root / f"clock-{self.boots}"
        if not clock.exists():  # one for all daemons of a boot: each would see another start of the gateway else
            boot.write_text(f"00000000-0000-4000-8000-{self.boots:012}\n")
            clock.write_text(str(60 * self.boots - int(float(Path("/proc/uptime").read_text().split()[0]))))
        clocks = ["--time", "--monotonic", clock.read_text(), "--boottime", clock.read_text()]
        return ["unshare", "--mount", *clocks, "--fork", "sh", "-c", BOOTED, str(boot), BOOT_ID]

    @property
    def _mine(self) -> str:
        return f"{LABEL}store={self.store_id}"

    def container(self, subagent: str) -> str:
        """Return the id of the newest running container of a subagent's agent, or nothing."""
        wanted = (self._mine, f"{LABEL}subagent={subagent}", f"{LABEL}role=agent")
        return next(iter(engine.containers(*wanted, running=True)), "")

    def containers(self) -> list[str]:
        return engine.containers(self._mine, running=True)

    def left(self) -> list[str]:
        """Return what is still there of this site."""
        found = [f"container {each}" for each in engine.containers(self._mine)]
        found += [f"volume {each}" for each in engine.volumes(self._mine)]
        # A probe's folder may stay where its manager was killed: it holds nothing of a subagent.
        there = (self.root / self.runtime / FOLDER).glob("*")
        found += [str(each) for each in there if each.name not in LOCKS and not is_probe(each)]
        # What was killed elsewhere cannot remove its folder, and who comes after it does not know of them.
        others = [path for each in RUNTIMES if each != self.runtime for path in (self.root / each / FOLDER).rglob("*")]
        return found + [str(each) for each in others if each.is_file() and each.name not in (*LOCKS, "nonce", EPOCH)]

    def unowned(self) -> list[str]:
        """Return what of this site names no owner that a reaper could look for."""
        with engine.client() as client:
            listed = client.api.volumes(filters={"label": [self._mine]})["Volumes"] or []
        return [f"{each['Name']} names no owner" for each in listed if Owner.of_labels(each["Labels"]) is None]

    def journals(self) -> dict[str, bytes]:
        """Return the journal of each agent by its subagent, read from its home where nobody runs any more."""
        found = {}
        for subagent, archives in self.from_homes(JOURNAL).items():
            found[subagent] = b"".join(first_file(each) for each in archives)
        return found

    def from_homes(self, *paths: str) -> dict[str, list[bytes]]:
        """Return of each subagent what is at these places in the home of its agent, one tar each where something is."""
        with engine.client() as client:
            listed = client.api.volumes(filters={"label": [self._mine]})["Volumes"] or []
            homes = {
                each["Labels"][f"{LABEL}subagent"]: each["Name"] for each in listed if each["Name"].endswith("-home")
            }
            binds = [f"{volume}:/homes/{subagent}:ro" for subagent, volume in homes.items()]
            settings = client.api.create_host_config(binds=binds, network_mode="none")
            labels = {f"{LABEL}test": "storm"}
            image = self.image or closure_image()
            made = client.api.create_container(image, ["true"], host_config=settings, labels=labels)
            try:
                return {subagent: list(packed(client, made["Id"], subagent, paths)) for subagent in homes}
            finally:
                client.api.remove_container(made["Id"], force=True)

    def remove_all(self) -> None:
        """Remove what is on the engine of this site."""
        if self.store_id:
            engine.remove_containers(engine.containers(self._mine))
            engine.remove_volumes(engine.volumes(self._mine))


def packed(
    client: engine.docker.DockerClient, container: str, subagent: str, paths: tuple[str, ...]
) -> Iterator[bytes]:
    for path in paths:
        with suppress(engine.NotFound):
            stream, _ = client.api.get_archive(container, f"/homes/{subagent}/{path}")
            yield b"".join(stream)


def first_file(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(tar.getmembers()[0])
        return member.read() if member is not None else b""


def is_probe(folder: Path) -> bool:
    return (
        folder.name.startswith("p")
        and folder.is_dir()
        and {each.name for each in folder.iterdir()} <= {"nonce", "host.sock", "inside.sock"}
    )
