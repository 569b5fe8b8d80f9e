"""Reads an account as a manager sent it. What is wrong with it is told by the name of the field, never by its value."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar, get_args

from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.core.errors import Rejected
from acp_runtime.core.prices import Price
from acp_runtime.egress.registry import Registry, builtin_registries
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.account import ENGINE_VARIABLES, Account, EgressWay, ModelWay, RelayWay, ToolsWay
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.keys import Key, LiveKey, Secret
from acp_runtime.models.route import Route
from acp_runtime.session.catalogue import KeyForm

__all__ = ["read_account"]

T = TypeVar("T")
Message = Mapping[str, Any]


def read_account(message: Message) -> Account:
    """Read what `Account.message` made. Raises GatewayError (`bad_account`)."""
    try:
        return Account(
            subagent=_of(message, "subagent", str),
            attempt=_of(message, "attempt", int),
            gid=_of(message, "gid", int),
            model=_way(message, "model", _model),
            egress=_way(message, "egress", _egress),
            relay=_way(message, "relay", _relay),
            tools=_way(message, "tools", _tools),
            tree=_of(message, "tree", str),
        )
    except Rejected as error:
        raise GatewayError("bad_account", str(error)) from error


def _way(message: Message, name: str, read: Callable[[Message], T]) -> T | None:
    given = message.get(name)
    return None if given is None else read(_of(message, name, dict))


def _model(message: Message) -> ModelWay:
    form: KeyForm | None = next((each for each in get_args(KeyForm) if each == message.get("key_form")), None)
    if form is None:
        raise _bad("key_form")
    headers = _strings(_of(message, "headers", list), "headers")
    route = Route.parse(_of(message, "url", str), key=_way(message, "key", _key), key_form=form, headers=headers)
    prices = tuple(map(_price, _of(message, "prices", list)))
    allowances = tuple(map(_allowance, _of(message, "allowances", list)))
    return ModelWay(_of(message, "port", int), _socket(message), route, prices, allowances)


def _tools(message: Message) -> ToolsWay:
    return ToolsWay(_of(message, "port", int), _socket(message))


def _key(message: Message) -> Key:
    if "source" not in message:
        return Secret(_of(message, "value", str), name=_of(message, "name", str))
    environ = _of(message, "environ", dict)
    _strings(environ.values(), "key")
    return LiveKey(_of(message, "source", str), environ, lacking=_of(message, "lacking", bool))


def _allowance(message: Message) -> Allowance:
    scope = next((each for each in Scope if each == _of(message, "scope", str)), None)
    if scope is None:
        raise _bad("scope")
    return Allowance(scope, _of(message, "key", str), _budget(message), _used(message))


def _budget(message: Message) -> Budget:
    given = _of(message, "budget", dict)
    bounds = {each.name: given.get(each.name) for each in fields(Budget)}
    if not all(bound is None or type(bound) is int for bound in bounds.values()):
        raise _bad("budget")
    return Budget(**bounds)


def _used(message: Message) -> Used:
    given = _of(message, "used", dict)
    return Used(_of(given, "tokens", int), _of(given, "cost", int), _of(given, "unpriced", str))


def _price(message: Message) -> Price:
    amounts = ("input", "output", "cached_input", "cache_write", "cache_write_hour")
    try:
        exact = {name: Decimal(_of(message, name, str)) for name in amounts}
    except InvalidOperation as error:
        raise _bad("prices") from error
    return Price(_of(message, "model", str), **exact, prompt_over=_of(message, "prompt_over", int))


def _egress(message: Message) -> EgressWay:
    rules = Rules.parse(_strings(_of(message, "rules", list), "rules"))
    registries = tuple(map(_registry, _of(message, "registries", list)))
    return EgressWay(_of(message, "port", int), _socket(message), rules, registries)


def _registry(message: Message) -> Registry:
    known = builtin_registries().get(_of(message, "name", str))
    addresses = _of(message, "addresses", dict)
    if known is None:
        raise _bad("registries")
    _strings(addresses.values(), "registries")
    return known.moved(addresses, private=_of(message, "private", bool))


def _relay(message: Message) -> RelayWay:
    engine = _of(message, "engine", dict)
    if not set(engine) <= set(ENGINE_VARIABLES):
        raise _bad("engine")
    _strings(engine.values(), "engine")
    return RelayWay(
        container=_of(message, "container", str),
        argv=tuple(_strings(_of(message, "argv", list), "argv")),
        user=_of(message, "user", str),
        engine=engine,
        token=_of(message, "token", str),
    )


def _socket(message: Message) -> Path:
    text = _of(message, "socket", str)
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text:
        raise _bad("socket")
    return path


def _strings(found: Any, name: str) -> list[str]:
    if not all(isinstance(each, str) for each in found):
        raise _bad(name)
    return list(found)


def _of(message: Any, name: str, kind: type[T]) -> T:
    found = message.get(name) if isinstance(message, Mapping) else None
    if type(found) is kind:
        return found
    raise _bad(name)


def _bad(name: str) -> GatewayError:
    return GatewayError("bad_account", f"The account's {name} is missing or malformed; it was not opened.")
