"""What to do about the engine: a pure function from facts to an action and its sentence.

The policy: use the engine that answers. Only at the default socket, and only as root, start one that is installed
but stopped; install one only when there is none at all. NO_ENGINE_SETUP forbids both. Everything else is said,
with the remedy, and left to the person.
"""

from dataclasses import dataclass
from enum import StrEnum

from hostsetup.endpoint import Endpoint
from hostsetup.engine_api import Answer, Ping


class Action(StrEnum):
    """What happens next. USE changes nothing; STOP ends with the sentence."""

    USE = "use"
    START = "start"
    INSTALL = "install"
    STOP = "stop"


@dataclass(frozen=True)
class Facts:
    """Everything the decision depends on."""

    endpoint: Endpoint
    ping: Ping
    root: bool
    user: str
    dockerd: str  # path of the daemon's binary; empty when there is none
    snap: bool  # Docker is here as a snap, whose daemon is not on PATH
    apt: bool  # Debian or Ubuntu, with apt-get
    forbidden: bool  # NO_ENGINE_SETUP
    in_group: bool  # the user is listed in the socket's group, but this login does not have it yet
    user_socket: str  # a rootless engine's socket of this user; empty when there is none


@dataclass(frozen=True)
class Decision:
    """The action with the one sentence that is shown for it."""

    action: Action
    sentence: str


def decide(facts: Facts) -> Decision:
    """Apply the policy; see the module's docstring."""
    if facts.ping.answer is Answer.ANSWERS:
        return Decision(Action.USE, f"Engine: {facts.ping.detail} at {facts.endpoint.url} ({facts.endpoint.source}).")
    if facts.endpoint.url.startswith("ssh://"):
        return _stop(_forward(facts.endpoint.url))
    if facts.ping.answer is Answer.DENIED:
        return _stop(_denied(facts))
    if facts.ping.answer in (Answer.SILENT, Answer.STRANGE):
        return _stop(
            f"Something is at {facts.endpoint.url} ({facts.endpoint.source}) but does not answer as an engine: "
            f"{facts.ping.detail}; look at the engine's log (journalctl -u docker), restart it, and run this again."
        )
    if facts.endpoint.chosen:
        return _stop(
            f"No engine answers at {facts.endpoint.url}, which {facts.endpoint.source} names ({facts.ping.detail}); "
            f"start that engine, or {_unchoose(facts.endpoint)} to use this machine's own."
        )
    return _nothing_at_the_default_socket(facts)


def _nothing_at_the_default_socket(facts: Facts) -> Decision:
    if facts.dockerd:
        return _stopped(facts)
    if facts.snap:
        return _stop("Docker is installed as a snap but stopped; start it (sudo snap start docker) and run this again.")
    if facts.ping.answer is Answer.REFUSED:
        return _stop(
            f"{facts.endpoint.url} is there, but nobody answers behind it and no engine is installed here, so it "
            "belongs to an engine elsewhere (Docker Desktop, the host of this container): start that one, or delete "
            "the stale socket and run this again."
        )
    return _none(facts)


def _stopped(facts: Facts) -> Decision:
    installed = f"The engine is installed ({facts.dockerd}) but stopped"
    if facts.forbidden:
        return _stop(f"{installed}, and NO_ENGINE_SETUP forbids starting it; start it (systemctl start docker) first.")
    if facts.root:
        return Decision(Action.START, f"{installed}; starting it (make engine-remove stops it again).")
    return _stop(f"{installed}; start it with `sudo systemctl start docker` or `sudo make engine`{_rootless(facts)}.")


def _none(facts: Facts) -> Decision:
    none = "There is no container engine on this machine (a docker client alone is none)"
    if facts.forbidden:
        return _stop(f"{none}, and NO_ENGINE_SETUP forbids installing one; install Docker, or set DOCKER_HOST.")
    if not facts.apt:
        return _stop(
            f"{none}, and one is only installed on Debian and Ubuntu; install Docker by your distribution's means, "
            f"or set DOCKER_HOST{_rootless(facts)}."
        )
    if not facts.root:
        return _stop(f"{none}; install one with `sudo make engine`, or set DOCKER_HOST{_rootless(facts)}.")
    return Decision(
        Action.INSTALL,
        f"{none}; installing docker.io from this machine's own Debian or Ubuntu mirror: about 65 MB to download, "
        "270 MB on disk, exact figures below (NO_ENGINE_SETUP=1 forbids it, make engine-remove undoes it).",
    )


def _denied(facts: Facts) -> str:
    refused = f"The user {facts.user} may not open {facts.endpoint.url} ({facts.endpoint.source})"
    if facts.in_group:
        return f"{refused}: you are in its group, but this login is older; log in again (or run `newgrp docker`)."
    if facts.root:
        return f"{refused}, although it is root: a security module or this container's user namespace is in the way."
    return (
        f"{refused}; add yourself to its group (sudo usermod -aG docker {facts.user}) and log in again, "
        f"or use an engine of your own through DOCKER_HOST{_rootless(facts)}. Membership in that group equals root."
    )


def _forward(url: str) -> str:
    host = url.removeprefix("ssh://") or "HOST"
    return (
        f"An engine over ssh ({url}) is not supported; forward its socket: "
        f"`ssh -nNT -L /tmp/docker-forwarded.sock:/var/run/docker.sock {host}`, "
        "then set DOCKER_HOST=unix:///tmp/docker-forwarded.sock."
    )


def _unchoose(endpoint: Endpoint) -> str:
    return "unset DOCKER_HOST" if endpoint.source == "DOCKER_HOST" else "choose another (docker context use default)"


def _rootless(facts: Facts) -> str:
    return f" (you have one: DOCKER_HOST=unix://{facts.user_socket})" if facts.user_socket else ""


def _stop(sentence: str) -> Decision:
    return Decision(Action.STOP, sentence)
