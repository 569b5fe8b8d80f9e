"""What a dying dockerd says, and what helps."""

from collections.abc import Sequence

_VFS = 'its storage driver is not usable here: put {"storage-driver": "vfs"} into /etc/docker/daemon.json'
_CONFIGURATION = "its configuration is refused: mend /etc/docker/daemon.json"
_NOT_ALLOWED = "not even root may do it here (an unprivileged container?): use an engine elsewhere, through DOCKER_HOST"

# The first match in a line wins, so the particular stands before the general.
_KNOWN = (
    ("iptables", "it needs a working iptables: apt-get install iptables, and a kernel with its modules"),
    ("driver not supported", _VFS),
    ("graphdriver", _VFS),
    ("cgroup", "no cgroups are mounted: apt-get install cgroupfs-mount and run cgroupfs-mount"),
    (
        "bridge",
        'it may not make its bridge: put {"bridge": "none", "iptables": false} into /etc/docker/daemon.json',
    ),
    ("daemon.json", _CONFIGURATION),
    ("configure the Docker daemon", _CONFIGURATION),
    ("no space left", "the disk is full: make room under /var/lib/docker"),
    ("containerd", "its containerd did not come up: end a left-over containerd, or reinstall the package"),
    ("ermission denied", _NOT_ALLOWED),
    ("not permitted", _NOT_ALLOWED),
)


def remedy(lines: Sequence[str]) -> str:
    """Tell what helps against a daemon's last words, as half a sentence; the latest line that is known decides."""
    for line in reversed(lines):
        for words, help_ in _KNOWN:
            if words in line:
                return help_
    return "read its log, or start it by hand"
