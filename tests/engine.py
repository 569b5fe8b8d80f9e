"""The engine as others use it: what is on it by label, and what somebody else does to a container.

It stands beside the product and needs no command line client: an engine may well run without one.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import environ
from typing import Any

import docker
from docker.context import ContextAPI
from docker.errors import NotFound


@contextmanager
def client() -> Iterator[docker.DockerClient]:
    """Connect to the engine of `DOCKER_HOST`, else of the current context."""
    host = environ.get("DOCKER_HOST") or ContextAPI.get_current_context().Host
    found = docker.DockerClient(base_url=host, timeout=90)
    try:
        yield found
    finally:
        found.close()


def containers(*labels: str, running: bool = False) -> list[str]:
    """Return the ids of the containers with all of these labels (`name=value`)."""
    with client() as engine:
        listed = engine.api.containers(all=not running, filters={"label": list(labels)})
        return [each["Id"] for each in listed]


def volumes(*labels: str) -> list[str]:
    """Return the names of the volumes with all of these labels."""
    with client() as engine:
        listed = engine.api.volumes(filters={"label": list(labels)})
        return [each["Name"] for each in listed["Volumes"] or []]


def inspect(ids: Sequence[str]) -> str:
    """Return all that the engine tells of some containers, as JSON text."""
    with client() as engine:
        return json.dumps([engine.api.inspect_container(each) for each in ids])


def inspect_execs(container: str) -> str:
    """Return all that the engine tells of what runs in a container, as JSON text."""
    with client() as engine:
        running = engine.api.inspect_container(container)["ExecIDs"] or []
        return json.dumps([engine.api.exec_inspect(each) for each in running])


def history(container: str) -> str:
    """Return how the image of a container came about, as JSON text."""
    with client() as engine:
        image = engine.api.inspect_container(container)["Image"]
        return json.dumps([engine.api.inspect_image(image), engine.api.history(image)])


def logs(container: str) -> str:
    with client() as engine:
        said: bytes = engine.api.logs(container)
        return said.decode(errors="replace")


def execute(container: str, *argv: str, user: str = "", workdir: str | None = None) -> str:
    """Run a command in a container and return what it put out."""
    with client() as engine:
        created: dict[str, Any] = engine.api.exec_create(container, list(argv), user=user, workdir=workdir)
        said: bytes = engine.api.exec_start(created["Id"])
        return said.decode(errors="replace")


def kill(container: str) -> None:
    with client() as engine:
        engine.api.kill(container)


def remove_containers(ids: Sequence[str]) -> None:
    with client() as engine:
        for each in ids:
            try:
                engine.api.remove_container(each, force=True)
            except NotFound:
                continue


def remove_volumes(names: Sequence[str]) -> None:
    with client() as engine:
        for each in names:
            try:
                engine.api.remove_volume(each, force=True)
            except NotFound:
                continue
