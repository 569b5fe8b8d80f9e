"""The container engine: the one door to it for everything above, and what this project asks of it.

Promises: every verb is bounded in time, runs off the event loop, and fails with an error of `sandbox.errors` only;
what is not there is told as `SandboxGone` or `ImageMissing`, or as None / False where absence is an answer. Nothing
here decides anything about agents or policy, except that no container with a dangerous setting is ever created.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

import tenacity

from sandbox.endpoint import Endpoint
from sandbox.engine_facts import EngineFacts
from sandbox.errors import EngineError, EngineRefused, EngineUnreachable, ImageMissing, SandboxGone
from sandbox.policy import refuse_dangerous, refuse_runtime, refuse_same_user, refuse_workdir
from sandbox.refusals import refusal

if TYPE_CHECKING:
    from sandbox.client import Client

SHORT, USUAL, UNPACKING, LONG = 10.0, 30.0, 300.0, 1800.0  # seconds
PULL_TRIES = 3
LAST_WORDS = 5
BLOCK = 1024 * 1024  # bytes

Json = dict[str, Any]


class Engine:
    """One engine. Owner: whoever called `connect`; `close` ends it."""

    def __init__(self, client: "Client", facts: EngineFacts) -> None:
        self._client = client
        self.facts = facts

    @classmethod
    async def connect(cls, environ: Mapping[str, str], *, timeout: float = SHORT) -> "Engine":  # noqa: ASYNC109
        """Find the engine as the docker command does and ask what it is.

        Raises EngineDenied, EngineUnreachable, or EngineTimeout; each sentence names the address and the remedy.
        """
        from sandbox.client import Client  # noqa: PLC0415 - docker-py is heavy, and most processes ask no engine

        client = await Client.connect(environ, timeout=timeout)
        try:
            info = await client.call("describe itself", lambda api: api.info(), deadline=timeout)
            version = await client.call("tell its version", lambda api: api.version(), deadline=timeout)
        except BaseException:
            await client.close()
            raise
        return cls(client, EngineFacts.read(info, version, client.api_version))

    @property
    def endpoint(self) -> Endpoint:
        return self._client.endpoint

    async def close(self) -> None:
        """Close the connections to the engine; nothing on the engine changes."""
        await self._client.close()

    # --- containers

    async def create_container(
        self, name: str, settings: Mapping[str, Any], *, bound: float = USUAL, unsafe_seccomp: bool = False
    ) -> str:
        """Create a container and return its id; a long `bound` where an image's files go into an empty volume.

        `settings` are docker-py's arguments of create_container, those of the host configuration under `host_config`.
        `unsafe_seccomp` allows that system calls are not filtered. Raises SettingRefused, SameUser and RuntimeMissing
        before anything is asked of the engine, NameTaken, ImageMissing.
        """
        refuse_same_user()
        refuse_dangerous(settings, unsafe_seccomp=unsafe_seccomp, engine_root=self.facts.root_dir)
        refuse_runtime(settings["host_config"].get("runtime"), self.facts.runtimes)
        doing = f"create the container {name}"

        def work(api: Any) -> str:
            host = api.create_host_config(**settings["host_config"])
            return str(api.create_container(name=name, **{**settings, "host_config": host})["Id"])

        return await self._client.call(doing, work, deadline=bound)

    async def start_container(self, container: str) -> None:
        """Start it. Raises SandboxGone, CommandMissing when PID 1 is not in the image and no init starts it."""
        await self._client.call(
            f"start the container {_short(container)}", lambda api: api.start(container), deadline=USUAL
        )

    async def remove_container(self, container: str) -> bool:
        """Kill and remove it with its anonymous volumes; False when there is none (any more)."""
        doing = f"remove the container {_short(container)}"
        try:
            await self._client.call(
                doing, lambda api: api.remove_container(container, v=True, force=True), deadline=USUAL
            )
        except SandboxGone:
            return False
        except EngineRefused as error:
            if error.status == 409 and "already in progress" in str(error):
                await self.wait_container(container, condition="removed", bound=USUAL)
                return True
            raise
        return True

    async def inspect_container(self, container: str) -> Json:
        """Return the engine's record of it. Raises SandboxGone."""
        doing = f"describe the container {_short(container)}"
        return await self._call_json(doing, lambda api: api.inspect_container(container))

    async def wait_container(self, container: str, *, condition: str = "not-running", bound: float) -> int | None:
        """Wait until it is `not-running` or `removed`; its exit code, None when it is gone.

        This holds one of few threads: for short bounds only. Raises EngineTimeout.
        """
        doing = f"tell the end of the container {_short(container)}"
        try:
            answer = await self._client.call(
                doing, lambda api: api.wait(container, condition=condition), deadline=bound
            )
        except SandboxGone:
            return None
        return int(answer["StatusCode"])

    async def logs(self, container: str, *, lines: int = 200) -> bytes:
        """Return the last lines that PID 1 wrote on both streams. Raises SandboxGone."""
        doing = f"show the output of the container {_short(container)}"
        return bytes(await self._client.call(doing, lambda api: api.logs(container, tail=lines), deadline=USUAL))

    async def put_archive(self, container: str, path: str, archive: bytes | IO[bytes] | Iterable[bytes]) -> None:
        """Unpack a tar at `path` of a container; also of one that never ran. Raises SandboxGone."""
        doing = f"unpack an archive at {path} of the container {_short(container)}"
        await self._client.call(doing, lambda api: api.put_archive(container, path, archive), deadline=UNPACKING)

    async def get_archive(self, container: str, path: str, *, most: int) -> bytes:
        """Return what lies at `path` of a container as a tar; also of one that never ran.

        Raises SandboxGone, EngineError when it has more than `most` bytes.
        """
        doing = f"pack {path} of the container {_short(container)}"

        def work(api: Any) -> bytes:
            pieces, _ = api.get_archive(container, path)
            packed = bytearray()
            for piece in pieces:  # to the end: an answer that is left in the middle keeps its connection
                packed += piece[: most + 1 - len(packed)]
            if len(packed) > most:
                raise EngineError(f"The engine was asked to {doing}, which is more than {most} bytes.")
            return bytes(packed)

        return await self._client.call(doing, work, deadline=UNPACKING)

    async def containers(self, labels: Mapping[str, str | None], *, health: str | None = None) -> list[Json]:
        """List containers, also ended ones, that carry all of `labels`; None stands for any value.

        With `health` only those that run and whose checks, see `sandbox.health`, found them to be so.
        """
        wanted = _filter(labels) | ({} if health is None else {"health": [health], "status": ["running"]})
        return list(
            await self._client.call(
                "list containers", lambda api: api.containers(all=True, filters=wanted), deadline=USUAL
            )
        )

    async def events(self, container: str, *, names: Sequence[str]) -> list[Json]:
        """List what happened to a container until now.

        The engine remembers some hundred events only, and dates them by its wall clock: an empty answer proves nothing.
        """
        wanted = {"container": [container], "event": list(names)}

        def work(api: Any) -> list[Json]:
            until = _as_stamp(api.info()["SystemTime"])
            # Not since it was created: a clock that was set back makes that a moment to come, which the engine refuses.
            return list(api.events(since="0", until=until, filters=wanted, decode=True))

        return await self._client.call(f"list events of the container {_short(container)}", work, deadline=SHORT)

    # --- executing a program in a container

    async def create_exec(
        self, container: str, argv: Sequence[str], *, user: str, cwd: str, env: Mapping[str, str]
    ) -> str:
        """Prepare an execution with all three streams and return its id; nothing runs yet.

        Raises SandboxGone, SettingRefused for a working directory such as /proc/self/fd/8.
        """
        refuse_workdir(cwd)

        def work(api: Any) -> str:
            made = api.exec_create(container, list(argv), stdin=True, user=user, workdir=cwd, environment=dict(env))
            return str(made["Id"])

        return await self._client.call(f"prepare a program in the container {_short(container)}", work, deadline=SHORT)

    async def inspect_exec(self, exec_id: str) -> Json:
        """Return the engine's record of an execution. Raises SandboxGone when the engine knows it no more."""
        return await self._call_json("describe an execution", lambda api: api.exec_inspect(exec_id))

    async def processes(self, container: str) -> list[tuple[int, int]]:
        """Return pid and uid of each process of a container as the engine's machine counts them, oldest pid first.

        Raises SandboxGone, EngineRefused when it does not run or the machine has no `ps`.
        """
        doing = f"list the processes of the container {_short(container)}"
        found = await self._call_json(doing, lambda api: api.top(container, ps_args="-eo pid,uid"))
        return sorted((int(pid), int(uid)) for pid, uid in found["Processes"])

    async def command_lines(self, container: str) -> list[str]:
        """Return the command line of each process of a container. Raises as `processes` does."""
        doing = f"list the commands of the container {_short(container)}"
        found = await self._call_json(doing, lambda api: api.top(container, ps_args="-eo pid,args"))
        return [line for _, line in found["Processes"]]

    # --- volumes

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create it; an existing one of that name is left as it is, labels included (look with `inspect_volume`)."""
        await self._client.call(
            f"create the volume {name}", lambda api: api.create_volume(name, labels=dict(labels)), deadline=USUAL
        )

    async def inspect_volume(self, name: str) -> Json | None:
        """Return the engine's record of it, None when there is none."""
        return await self._unless_absent(f"describe the volume {name}", lambda api: api.inspect_volume(name))

    async def remove_volume(self, name: str) -> bool:
        """Remove it; False when there is none. Raises EngineError while a container uses it."""
        removed = await self._unless_absent(
            f"remove the volume {name}", lambda api: {"removed": api.remove_volume(name) is None}
        )
        return removed is not None

    async def volumes(self, labels: Mapping[str, str | None]) -> list[Json]:
        """List volumes that carry all of `labels`; None stands for any value."""
        wanted = _filter(labels)
        answer = await self._call_json("list volumes", lambda api: api.volumes(filters=wanted))
        return list(answer["Volumes"] or ())

    # --- images

    async def inspect_image(self, name: str) -> Json | None:
        """Return the engine's record of an image, None when it is not on the engine."""
        try:
            return await self._call_json(f"describe the image {name}", lambda api: api.inspect_image(name))
        except ImageMissing:
            return None

    async def pull_image(self, name: str, on_line: Callable[[str], None], *, bound: float = LONG) -> None:
        """Fetch an image; `on_line` gets the engine's steps. Raises ImageMissing when no registry has it for us.

        A connection that breaks on the way is tried again, a refusal is not.
        """
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(PULL_TRIES),
            wait=tenacity.wait_exponential(multiplier=1, max=4),
            retry=tenacity.retry_if_exception(_may_pass),
            reraise=True,
        )
        await attempts(self._pull, name, on_line, bound)

    async def _pull(self, name: str, on_line: Callable[[str], None], bound: float) -> None:
        doing = f"pull the image {name}"
        async with _told(doing, on_line) as on_item:
            await self._client.long_call(
                doing, lambda api: api.pull(name, stream=True, decode=True), on_item, deadline=bound
            )

    async def build_image(
        self,
        context: IO[bytes],
        *,
        tag: str,
        on_line: Callable[[str], None],
        labels: Mapping[str, str] | None = None,
        buildargs: Mapping[str, str] | None = None,
        bound: float = LONG,
        **options: Any,
    ) -> None:
        """Build from a tar holding a Dockerfile, with the classic builder; `options` are docker-py's own.

        Raises EngineError with the last lines of the build when a step fails.
        """
        doing = f"build the image {tag}"
        fixed = {"fileobj": context, "custom_context": True, "tag": tag, "rm": True, "forcerm": True, "decode": True}
        given = {"labels": dict(labels or {}), "buildargs": dict(buildargs or {})}
        async with _told(doing, on_line) as on_item:
            await self._client.long_call(
                doing, lambda api: api.build(**options, **given, **fixed), on_item, deadline=bound
            )

    async def import_image(
        self, archive: IO[bytes] | Iterable[bytes], name: str, *, changes: Sequence[str] = (), bound: float = LONG
    ) -> None:
        """Make an image of one layer from a root file system as a tar. `changes` are Dockerfile lines (ENV, LABEL)."""
        repository, _, tag = name.partition(":")

        def work(api: Any) -> str:
            return str(
                api.import_image_from_stream(
                    _blocks(archive), repository=repository, tag=tag or "latest", changes=list(changes)
                )
            )

        doing = f"import the image {name}"
        answer = await self._client.call(doing, work, deadline=bound)
        for line in answer.splitlines():
            if "error" in (said := json.loads(line)):
                raise refusal(500, str(said["error"]), doing)

    async def remove_image(self, name: str) -> bool:
        """Remove an image by name; False when there is none. Raises EngineError while a container uses it."""
        try:
            await self._client.call(f"remove the image {name}", lambda api: api.remove_image(name), deadline=USUAL)
        except ImageMissing:
            return False
        return True

    # --- inside

    async def _call_json(self, doing: str, work: Callable[[Any], Any]) -> Json:
        answer: Json = await self._client.call(doing, work, deadline=SHORT)
        return answer

    async def _unless_absent(self, doing: str, work: Callable[[Any], Any]) -> Json | None:
        try:
            return await self._call_json(doing, work)
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise


def _filter(labels: Mapping[str, str | None]) -> dict[str, list[str]]:
    return {"label": [key if value is None else f"{key}={value}" for key, value in labels.items()]}


def _blocks(archive: IO[bytes] | Iterable[bytes]) -> Iterator[bytes]:
    """Hide that a file has a length: docker-py would send it under two contradicting headers."""
    read = getattr(archive, "read", None)
    return iter(archive) if read is None else iter(lambda: bytes(read(BLOCK)), b"")


@asynccontextmanager
async def _told(doing: str, on_line: Callable[[str], None]) -> AsyncIterator[Callable[[Json], None]]:
    """Pass the lines of a long answer on; raise at its end what the engine reported as an error within it."""
    last: list[str] = []
    wrong: list[str] = []

    def on_item(item: Json) -> None:
        if "error" in item:
            wrong.append(str(item["error"]))
        line = str(item.get("stream") or item.get("status") or "").strip()
        if line:
            last[:] = [*last[1 - LAST_WORDS :], line]
            on_line(f"{item['id']}: {line}" if item.get("id") else line)

    yield on_item
    if wrong:
        raise refusal(500, "; ".join([*last, *wrong]), doing)


def _may_pass(error: BaseException) -> bool:
    """Tell whether trying a pull again can help: the way broke, nobody said no."""
    return isinstance(error, EngineUnreachable) or (isinstance(error, EngineRefused) and error.status >= 500)


def _as_stamp(moment: str) -> str:
    """Turn the engine's RFC 3339 time into seconds with a fraction, which its event log takes."""
    return f"{datetime.fromisoformat(moment).timestamp():.6f}"


def _short(container: str) -> str:
    return container[:12] if len(container) == 64 else container
