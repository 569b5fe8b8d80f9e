"""The catalogue: how each kind of agent is launched. Built-in kinds come from `catalogue.toml`, others from the user.

A kind is data. Quirks that need code are named fields, so that the code which honours one can be found by its name.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import Any, Final, Literal

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line

_VERSION: Final = re.compile(r"(/v1(beta)?)?/*$")

KeyForm = Literal["bearer", "x-api-key", "x-goog-api-key"]
"""How a model is given its key: in `Authorization: Bearer KEY`, or alone in the header of that name."""


@dataclass(frozen=True, slots=True)
class AgentKind:
    """How to launch an agent. `argv` runs inside the sandbox; `env` may hold `$MODEL`, `$BASE_URL` and `$API_ROOT`.

    `auth_method` is the login to call after `initialize`; None for agents that need none. `cold_start` says that the
    first start fetches or unpacks something, which lengthens the deadline of `initialize`. `key_form` is how the API
    that the agent speaks wants the model's key; it is added outside of the sandbox. `model_headers` are headers of the
    agent's that go to its model, in lower case, beside those of every client. `failure_records`: the agent
    answers `end_turn` when its model failed, and tells that in a record beside it when it is asked to. `session_meta`
    is given to it as `_meta` of its sessions: settings that it takes no other way. `home_files` are made below its home
    where they are not there and it reaches more than its model. `login_env` are variables more, in place of those of
    the same name, where the key is the login of a subscription: some ask another API with that, as soon as they start.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    login_env: Mapping[str, str] = field(default_factory=dict)
    auth_method: str | None = None
    needs_model: bool = False
    cold_start: bool = False
    key_form: KeyForm = "bearer"
    model_headers: list[str] = field(default_factory=list)
    failure_records: bool = False
    session_meta: Mapping[str, Any] = field(default_factory=dict)
    home_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_model(self) -> bool:
        """Whether the name of a model reaches the agent."""
        return any("$MODEL" in value or "${MODEL}" in value for value in self.env.values())

    def environment(self, *, model: str | None, base_url: str, login: bool = False) -> dict[str, str]:
        """Return the agent's variables with the model's name and address filled in.

        `$API_ROOT` is the address without a `/v1` or `/v1beta` at its end, for agents that add it themselves.
        """
        values = {"MODEL": model or "", "BASE_URL": base_url, "API_ROOT": _VERSION.sub("", base_url)}
        templates = {**self.env, **self.login_env} if login else self.env
        return {name: Template(value).safe_substitute(values) for name, value in templates.items()}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All kinds that may be launched here, by name. `version` is what the manager calls itself towards agents."""

    kinds: Mapping[str, AgentKind]
    version: str

    def kind(self, name: str) -> AgentKind:
        """Return a kind. Raises `Rejected` naming the known ones."""
        found = self.kinds.get(name)
        if found is None:
            known = ", ".join(sorted(self.kinds))
            shown = one_line(name, 60)
            raise Rejected("unknown_agent", f"Unknown background_subagents agent kind: {shown}. Known kinds: {known}")
        return found


def builtin_kinds() -> dict[str, AgentKind]:
    """Return the kinds that come with the program."""
    text = (files("acp_runtime.session") / "catalogue.toml").read_text(encoding="utf-8")
    return {name: read_kind(name, entry) for name, entry in tomllib.loads(text).items()}


def read_kind(name: str, entry: Mapping[str, Any]) -> AgentKind:
    """Return the kind that a validated table describes."""
    return AgentKind(name=name, **{**entry, "argv": tuple(entry["argv"])})
