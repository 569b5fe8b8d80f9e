"""Who made a thing on an engine: the labels that name a process so exactly that its death can be proven.

A process is named by machine, boot, pid namespace, pid and start time, so that neither a reused pid nor the same pid of
another container is taken for it. The epoch says which ownership of the store it had: what a later owner made is
refused to an earlier one (`refuse_later`), which may have been stopped and woken up since.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.errors import Fenced
from sandbox.spec import LABEL, NAME

UNKNOWN: Final = "unknown"
BUILD_STORE: Final = "build"  # named where something is made that all stores of an engine share
MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
START_FIELD: Final = 19  # of those behind the name in /proc/PID/stat: field 22 of all

_MACHINE = re.compile(r"[0-9a-f]{32}")
_BOOT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Owner:
    """One process as the owner of one store.

    `machine` is a hash; the machine's own id is not published. `started` is in clock ticks since boot, 0 where it could
    not be read. What could not be read is `unknown`, and then nobody can prove that this process is dead.
    """

    store: str
    machine: str
    boot: str
    pid_namespace: str
    pid: int
    started: int
    epoch: int

    @classmethod
    def of_this_process(cls, store: str, epoch: int) -> "Owner":
        boot = _first_line(BOOT_ID)
        return cls(
            store=store,
            machine=_machine(boot),
            boot=boot or UNKNOWN,
            pid_namespace=_pid_namespace(),
            pid=os.getpid(),
            started=start_time(os.getpid()) or 0,
            epoch=epoch,
        )

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> "Owner | None":
        """Return whom labels name; None when one is missing or is not as `labels` writes it."""
        found = {name: labels.get(LABEL + key, "") for name, (key, _) in _FIELDS.items()}
        if not all(form.fullmatch(found[name]) for name, (_, form) in _FIELDS.items()):
            return None
        numbers = {name: int(found.pop(name)) for name in ("pid", "started", "epoch")}
        return cls(**found, **numbers)  # type: ignore[arg-type]

    def labels(self) -> dict[str, str]:
        return {LABEL + key: str(getattr(self, name)) for name, (key, _) in _FIELDS.items()}

    def lives_beside(self, other: "Owner") -> bool:
        """Return whether this process sees the processes that `other` saw, so that a pid means the same to both."""
        ours, theirs = (
            (self.machine, self.boot, self.pid_namespace),
            (other.machine, other.boot, other.pid_namespace),
        )
        return ours == theirs and UNKNOWN not in ours


_FIELDS: Final = {
    "store": ("store", NAME),
    "machine": ("machine", re.compile(f"{_MACHINE.pattern}|{UNKNOWN}")),
    "boot": ("boot", re.compile(f"{_BOOT.pattern}|{UNKNOWN}")),
    "pid_namespace": ("pid-namespace", re.compile(f"{_NUMBER.pattern}|{UNKNOWN}")),
    "pid": ("pid", _NUMBER),
    "started": ("started", _NUMBER),
    "epoch": ("epoch", _NUMBER),
}


def epoch_of(labels: Mapping[str, str] | None) -> int | None:
    """Return the epoch that labels tell: 0 where they tell none, None where it is no number."""
    told = (labels or {}).get(f"{LABEL}epoch", "0")
    return int(told) if _NUMBER.fullmatch(told) else None


def refuse_later(what: str, labels: Mapping[str, str] | None, epoch: int) -> None:
    """Raise `Fenced` unless something with these labels may be touched by a manager of this epoch."""
    found = epoch_of(labels)
    if found is None:
        raise Fenced(f"The epoch of the {what} cannot be read; it was left alone: look at its labels.")
    if found > epoch:
        raise Fenced(
            f"A later manager (epoch {found}) owns the {what}; it was left alone by this one (epoch {epoch}), which "
            "was replaced and has to end."
        )


def start_time(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot.

    None when there is no process of that id for certain, 0 when there is one or may be but nothing tells its start:
    another user's that is hidden, or /proc is that of other processes.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass  # it is there, but another's
    try:
        if Path("/proc/self").readlink() != Path(str(os.getpid())):
            return 0
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[START_FIELD])
    except (OSError, ValueError, IndexError):
        return 0


def _machine(boot: str) -> str:
    """Return the machine's id as a hash; where it has none, as in a container, that of its boot stands in for it."""
    ident = next((line for path in MACHINE_IDS if re.fullmatch("[0-9a-f]{32}", line := _first_line(path))), boot)
    return hmac.new(ident.encode(), b"io.acp-subagents", hashlib.sha256).hexdigest()[:32] if ident else UNKNOWN


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return UNKNOWN


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").partition("\n")[0].strip()
    except (OSError, ValueError):
        return ""
