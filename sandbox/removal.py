"""Removal of everything that one subagent has on the engine. What a later manager made of it stops all of it.

The engine's calls are not fenced: the check and the removal are two. So what a manager of an earlier epoch removes when
it wakes up exactly between them is found missing by the later one, and made again under the name of another attempt.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from sandbox.engine import Engine
from sandbox.errors import EngineRefused
from sandbox.ownership import refuse_later


async def remove_containers(engine: Engine, labels: Mapping[str, str], epoch: int) -> None:
    """Remove all containers with these labels, or none. Raises Fenced when a later manager made one, EngineError."""
    found = await engine.containers(labels)
    for each in found:
        refuse_later(f"container {each['Names'][0].lstrip('/')}", each["Labels"], epoch)
    await remove_each((each["Id"] for each in found), engine.remove_container)


async def remove_volumes(engine: Engine, labels: Mapping[str, str], epoch: int) -> None:
    """Remove all volumes with these labels, or none. Raises Fenced, EngineError, also while a container uses one.

    A volume goes from owner to owner with its first labels; that a later one uses it is told by its containers.
    """
    for each in await engine.containers(labels):
        refuse_later(f"container {each['Names'][0].lstrip('/')}", each["Labels"], epoch)
    found = await engine.volumes(labels)
    for each in found:
        refuse_later(f"volume {each['Name']}", each["Labels"], epoch)
    await remove_each((each["Name"] for each in found), engine.remove_volume)


async def remove_each(names: Iterable[str], remove: Callable[[str], Awaitable[object]]) -> None:
    """Remove each of some things; one that the engine refuses to remove does not keep the others.

    Raises the first refusal when all were tried, and any other error at once.
    """
    refusals = []
    for name in names:
        try:
            await remove(name)
        except EngineRefused as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
