"""The engine of this machine: `up`, `status`, `remove`.

`up` makes sure that one answers, by the policy in decide.py; `status` says what `up` would do and changes nothing;
`remove` undoes what `up` did. Exit code 69 when no engine can be had.
"""

import getpass
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from hostsetup import daemon, endpoint, remove
from hostsetup.daemon import Host
from hostsetup.decide import Action, Decision, Facts, decide
from hostsetup.engine_api import ping
from hostsetup.packages import Apt, apt_works_here, read_os_id
from hostsetup.programs import with_system_path
from hostsetup.record import Record
from hostsetup.talk import ENGINE_UNAVAILABLE, Stop, say

USAGE = "usage: .ci/engine up | status | remove"


def main(argv: list[str]) -> int:
    verbs = {"up": up, "status": status, "remove": remove_all}
    if len(argv) != 1 or argv[0] not in verbs:
        say(USAGE)
        return 2
    verbs[argv[0]](os.environ)
    return 0


def up(environ: Mapping[str, str]) -> None:
    """Make sure that an engine answers. Raises Stop when none does in the end."""
    decision = _decide_now(environ)
    if decision.action is Action.USE:
        say(decision.sentence)
        return
    if decision.action is Action.STOP:
        raise Stop(decision.sentence, code=ENGINE_UNAVAILABLE)
    record = Record()
    with record.locked():
        _set_up(environ, record)


def status(environ: Mapping[str, str]) -> None:
    """Say what is there and what `up` would do. Raises Stop unless an engine answers."""
    decision = _decide_now(environ)
    if decision.action is Action.USE:
        say(decision.sentence)
        return
    would = "" if decision.action is Action.STOP else "`make engine` would begin with: "
    raise Stop(would + decision.sentence, code=ENGINE_UNAVAILABLE)


def remove_all(environ: Mapping[str, str]) -> None:
    """Undo `up`. Raises Stop when something is in the way; what is left stays noted, so it can be repeated."""
    record = Record()
    if os.geteuid() != 0 and record.folder.exists():
        raise Stop(f"The engine was set up by root ({record.folder}); undo it as root: sudo make engine-remove")
    remove.remove(record, endpoint.resolve(environ, Path.home()), environ, Host())


def _set_up(environ: Mapping[str, str], record: Record) -> None:
    """Under the lock, so decided anew: another process may have done it while we waited."""
    host = Host()
    for _ in range(2):  # an installation is followed by a start, unless the package has started it
        decision = _decide_now(environ)
        if decision.action not in (Action.INSTALL, Action.START):
            break
        say(decision.sentence)
        if decision.action is Action.INSTALL:
            Apt(record.package_log, environ).install(_packages(host), record=record.add_packages)
        else:
            daemon.start(_dockerd(environ), endpoint.default_endpoint(), record, environ, host)
    decision = _decide_now(environ)
    if decision.action is not Action.USE:
        raise Stop(decision.sentence, code=ENGINE_UNAVAILABLE)
    say(decision.sentence)


def _packages(host: Host) -> list[str]:
    """docker.io and, of what it merely recommends, only what this machine cannot do without."""
    wanted = ["docker.io", "ca-certificates"]
    if Path("/sys/module/apparmor/parameters/enabled").exists():
        wanted.append("apparmor")  # a kernel with AppArmor refuses containers when the parser is missing
    if not host.systemd.is_dir() and " cgroup" not in Path("/proc/mounts").read_text(encoding="utf-8"):
        wanted.append("cgroupfs-mount")
    return wanted


def _decide_now(environ: Mapping[str, str]) -> Decision:
    return decide(gather(environ))


def gather(environ: Mapping[str, str]) -> Facts:
    """Look at this machine, now. Raises Stop when Docker's own configuration is unreadable."""
    target = endpoint.resolve(environ, Path.home())
    return Facts(
        endpoint=target,
        ping=ping(target),
        root=os.geteuid() == 0,
        user=_user(),
        dockerd=_dockerd(environ),
        snap=Path("/snap/bin/docker").exists(),
        apt=apt_works_here(read_os_id()),
        forbidden=environ.get("NO_ENGINE_SETUP", "") not in ("", "0"),
        in_group=_listed_in_group(Path(target.url.removeprefix("unix://"))),
        user_socket=_user_socket(environ),
    )


def _dockerd(environ: Mapping[str, str]) -> str:
    return shutil.which("dockerd", path=with_system_path(environ)["PATH"]) or ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.geteuid()}"


def _listed_in_group(socket: Path) -> bool:
    """Whether /etc/group grants this user the socket although the running login has no such group."""
    try:
        group = socket.stat()
        return (
            stat.S_ISSOCK(group.st_mode)
            and group.st_gid not in os.getgroups()
            and pwd.getpwuid(os.geteuid()).pw_name in grp.getgrgid(group.st_gid).gr_mem
        )
    except (OSError, KeyError):
        return False


def _user_socket(environ: Mapping[str, str]) -> str:
    folder = environ.get("XDG_RUNTIME_DIR", "")
    found = Path(folder) / "docker.sock"
    return str(found) if folder and found.is_socket() else ""
