"""An account: what the gateway does for one attempt of one subagent, and how a manager tells it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from acp_runtime.core.budget import Allowance
from acp_runtime.core.prices import Price
from acp_runtime.egress.registry import Registry
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.lines import Json
from acp_runtime.keys import Key, LiveKey, Secret
from acp_runtime.models.route import Route

__all__ = ["ENGINE_VARIABLES", "Account", "EgressWay", "ModelWay", "RelayWay", "ToolsWay", "keyed"]

# What says which engine is meant: see `sandbox.endpoint`.
ENGINE_VARIABLES: Final = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "HOME",
)


@dataclass(frozen=True, slots=True)
class ModelWay:
    """Model requests: what comes in at `socket`, from `port` of the relay, goes where `route` says, with its key.

    `prices` are those of the user, before the ones that everybody has. `allowances` bound it; what was used of one
    is what counts when the gateway begins to count; later it knows better.
    """

    port: int
    socket: Path
    route: Route
    prices: tuple[Price, ...] = ()
    allowances: tuple[Allowance, ...] = ()

    def message(self) -> Json:
        route, key = self.route, self.route.key
        return {
            "port": self.port,
            "socket": str(self.socket),
            "url": route.url,
            "key_form": route.key_form,
            "headers": list(route.headers),
            "key": None if key is None else _key_message(key),
            "prices": [
                {name: value if isinstance(value, int) else str(value) for name, value in asdict(each).items()}
                for each in self.prices
            ],
            "allowances": [asdict(each) for each in self.allowances],
        }


@dataclass(frozen=True, slots=True)
class EgressWay:
    """All else: what comes in at `socket`, from `port` of the relay, goes where rules and registries allow."""

    port: int
    socket: Path
    rules: Rules
    registries: tuple[Registry, ...] = ()

    def message(self) -> Json:
        return {
            "port": self.port,
            "socket": str(self.socket),
            "rules": list(self.rules.texts),
            "registries": [
                {
                    "name": each.name,
                    "private": each.private,
                    "addresses": {place.name: str(place.address) for place in each.places},
                }
                for each in self.registries
            ],
        }


@dataclass(frozen=True, slots=True)
class ToolsWay:
    """The agent's tools: what comes from `port` of the relay goes to `socket`, at which the manager serves them."""

    port: int
    socket: Path

    def message(self) -> Json:
        return {"port": self.port, "socket": str(self.socket)}


@dataclass(frozen=True, slots=True)
class RelayWay:
    """How the gateway itself attaches to the relay of a sandbox that shares no socket with this machine.

    `argv` is executed in `container` as `user`. `engine` holds those of `ENGINE_VARIABLES` by which the manager found
    the engine.
    """

    container: str
    argv: tuple[str, ...]
    user: str
    engine: Mapping[str, str]
    token: str = field(repr=False)

    def message(self) -> Json:
        return {
            "container": self.container,
            "argv": list(self.argv),
            "user": self.user,
            "engine": dict(self.engine),
            "token": self.token,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Its sockets are for the group `gid`. Without `relay` the sandbox sees them itself.

    `tree` is the top one of the subagent's tree, empty for itself.

    A way that is None is not asked for, and of a model whose key lacks nothing is known of the key: what is served
    already goes on all the same.
    """

    subagent: str
    attempt: int
    gid: int
    model: ModelWay | None = None
    egress: EgressWay | None = None
    relay: RelayWay | None = None
    tools: ToolsWay | None = None
    tree: str = ""

    def message(self) -> Json:
        """Return it as it is sent to the gateway, with the key's value."""
        ways = {"model": self.model, "egress": self.egress, "relay": self.relay, "tools": self.tools}
        told = {name: None if way is None else way.message() for name, way in ways.items()}
        return {"subagent": self.subagent, "attempt": self.attempt, "gid": self.gid, "tree": self.tree, **told}


def keyed(account: Account, before: Account) -> Account:
    """Return an account with the key of another one of the same model, where its manager has none."""
    model, served = account.model, before.model
    if model is None or served is None or model.route.url != served.route.url:
        return account
    key = model.route.key
    lacks = isinstance(key, LiveKey) and key.lacking
    return replace(account, model=replace(model, route=served.route)) if lacks else account


def _key_message(key: Key) -> Json:
    """Return a key as it is, or where it comes from: the gateway reads that for itself, each time it has to."""
    if isinstance(key, LiveKey):
        return {"source": key.text, "environ": key.environ, "lacking": key.lacking}
    if isinstance(key, Secret):
        return {"name": key.name, "value": key.reveal().decode("ascii")}
    raise TypeError(f"{type(key).__name__} is no key that a gateway can be told")
