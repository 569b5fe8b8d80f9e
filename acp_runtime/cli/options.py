"""The options of `subagents run`, checked whole before anything starts."""

import argparse
import asyncio
import re
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

from acp_runtime.cli.budget import budget_of
from acp_runtime.cli.output import Format, Output
from acp_runtime.config import NAME, Config
from acp_runtime.core.confinement import Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.request import Questions
from acp_runtime.egress.rules import Rules
from acp_runtime.keys import key_source
from acp_runtime.models.route import Route
from acp_runtime.places import environment
from acp_runtime.presets import with_egress
from acp_runtime.service import SpawnRequest

YEAR = 31_536_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,254}")


class UsageError(Exception):
    """The command line cannot be used; nothing was started."""


def read_request(options: argparse.Namespace, config: Config) -> SpawnRequest:
    """Return what to spawn. Raises `UsageError`, and `Rejected` (unknown_agent, invalid)."""
    _seconds("--timeout", options.timeout)
    _seconds("--check-timeout", options.check_timeout)
    if options.check is not None and not options.check.strip():
        raise UsageError("--check is empty; give the command, or leave the option out")
    if options.unsafe_local and options.image is not None:
        raise UsageError("--image and --unsafe-local exclude each other: without a container there is no image")
    for name in ("memory", "pids", "runtime", "budget_tokens", "budget_cost"):
        if options.unsafe_local and getattr(options, name) is not None:
            option = name.replace("_", "-")
            raise UsageError(
                f"--{option} and --unsafe-local exclude each other: without a container nothing is limited"
            )
    _egress(options, config)
    check_model(options, config)
    # A run has one task: when its agent dies, the outcome is unknown and nothing is left to go on with.
    limits = replace(config.limits, restarts=0)
    if options.timeout is not None:
        limits = replace(limits, task=options.timeout)
    return SpawnRequest(
        agent=options.agent,
        workspace=Path(options.workspace),
        task=options.task,
        image=options.image,
        model=options.model,
        model_url=options.model_url,
        model_key=options.model_key,
        permissions=Permissions(options.permissions),
        questions=Questions.REFUSE,  # nobody is there to answer
        memory=options.memory,
        pids=options.pids,
        runtime=options.runtime,
        egress=tuple(options.egress),
        registries=tuple(options.registry),
        limits=limits,
        budget=budget_of(options),
    )


def raised(config: Config, request: SpawnRequest) -> Config:
    """Return the configuration with a ceiling that has the egress of a run: who gives its command line is the operator.

    Raises `Rejected` (invalid) where nothing at all may be reached.
    """
    ceiling = config.presets[config.ceiling]
    wider = with_egress(ceiling, Egress(request.egress, request.registries))
    return replace(config, presets={**config.presets, config.ceiling: wider})


def open_output(options: argparse.Namespace) -> Output:
    """Return the opened output. Raises `UsageError` when it cannot be written."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    form: Format = options.output or ("text" if terminal and options.out is None else "patch")
    try:
        return Output(form, Path(options.out) if options.out is not None else None)
    except OSError as error:
        target = f"--out {one_line(options.out, 200)}" if options.out is not None else "the output"
        raise UsageError(f"{target} cannot be written: {error.strerror}; give a file with --out FILE") from error


def check_names(options: argparse.Namespace) -> None:
    """Refuse names and paths that can be none. Raises `UsageError`."""
    for name, pattern, allowed in (
        ("agent", NAME, "small letters, digits and ._-"),
        ("image", _NAME, "letters, digits and ._:@/+-"),
        ("model", _NAME, "letters, digits and ._:@/+-"),
    ):
        value = getattr(options, name)
        if value is not None and not pattern.fullmatch(value):
            raise UsageError(f"--{name} {one_line(value, 60)!r} is not a name; allowed are {allowed}")
    for name in ("workspace", "out", "config"):
        path: str | None = getattr(options, name, None)
        if path == "":
            raise UsageError(f"--{name} is empty; give a path, or leave the option out")
        if path is not None and any(unicodedata.category(char) == "Cc" for char in path):
            raise UsageError(f"--{name} {one_line(path, 200)!r} holds a control character; rename what it names")


def _seconds(name: str, value: float | None) -> None:
    if value is not None and not 0 < value <= YEAR:
        raise UsageError(f"{name} is {value:g}; it must be a number of seconds above 0 and at most {YEAR} (a year)")


def check_model(options: argparse.Namespace, config: Config) -> None:
    """Put in what the configuration has for a kind or a model that was not given, and refuse what cannot be used.

    Raises `UsageError`, and `Rejected` (unknown_agent).
    """
    options.agent = options.agent or config.default_agent
    named = "--model-key"
    if options.model_url is None and (usual := config.models.get(options.agent)) is not None:
        options.model, options.model_url = options.model or usual.name, usual.url
        if options.model_key is None:
            options.model_key, named = usual.key, f"models.{options.agent}.key"
    if options.model_url is not None:
        try:
            Route.parse(options.model_url)
        except Rejected as error:
            raise UsageError(f"--model-url: {error}") from error
    if options.model_key is not None:
        _key(named, options.model_key)
        if options.model_url is None:
            raise UsageError("--model-key needs --model-url: the key is only ever sent to that address")
    kind = config.catalogue.kind(options.agent)
    if kind.needs_model and (options.model is None or options.model_url is None):
        where = f"[models.{kind.name}] of the configuration"
        raise UsageError(f"{kind.name} needs a model: give --model NAME and --model-url URL, or set it in {where}")


def _egress(options: argparse.Namespace, config: Config) -> None:
    if options.unsafe_local and (options.egress or options.registry):
        raise UsageError("--egress and --unsafe-local exclude each other: without a container everything is reached")
    try:
        Rules.parse(options.egress)
    except Rejected as error:
        raise UsageError(f"--egress: {error}") from error
    for name in options.registry:
        if name not in config.registries:
            known = ", ".join(config.registries)
            raise UsageError(f"--registry: there is none of the name {one_line(name, 60)!r}; known: {known}")


def _key(named: str, text: str) -> None:
    """Refuse a source without a usable key. A program is not run for it: it may ask the user something."""
    try:
        source = key_source(text, environment())
        if not source.runs:
            asyncio.run(source.read())
    except Rejected as error:
        raise UsageError(f"{named}: {error}") from error
