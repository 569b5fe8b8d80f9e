"""docker-py behind a bounded pool of threads. Only `sandbox/engine.py` uses this; nobody else imports docker-py.

Promises: at most `workers` calls run at once and long ones (pulls, builds) never take all threads; every call has a
deadline that also bounds its thread; whatever docker-py, requests, urllib3 or the system raise comes out as one error
of `sandbox.errors`, by the tables in `refusals` and `endpoint`.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import docker
import requests
import tenacity
from docker.context import ContextAPI
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from sandbox.endpoint import Context, Endpoint, TlsFiles, explain, resolve
from sandbox.errors import EngineError, EngineRefused, EngineTimeout, EngineUnreachable, SandboxError
from sandbox.refusals import refusal

T = TypeVar("T")
FEWEST_THREADS, MOST_THREADS = 4, 16
CONNECT_TRIES = 3


@dataclass(slots=True)
class _Lease:
    """One call's time in a thread: its bound, and the open response that ends it early."""

    seconds: float
    response: Any = None
    over: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        """Make the thread return soon: no further item is taken, and a read under way is woken."""
        self.over.set()
        wake = getattr(getattr(self.response, "raw", None), "shutdown", None)
        if wake is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
                wake()


class _Encrypted(HTTPAdapter):
    """Checks the engine's certificate as the raw stream of a channel does: both by the endpoint's context."""

    def __init__(self, context: ssl.SSLContext, **pool: Any) -> None:
        self._context = context
        super().__init__(**pool)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


class _Api(docker.APIClient):  # type: ignore[misc]  # docker-py has no types
    """docker-py's client, with the bound of the call it works for on every read of the socket.

    An answer's body is read where the end of the call wakes it, however slowly it comes; its head is not.
    """

    lease = threading.local()

    def send(self, request: Any, **kwargs: Any) -> Any:
        lease: _Lease = self.lease.current
        response = super().send(request, **kwargs | {"timeout": lease.seconds, "stream": True})
        lease.response = response
        if lease.over.is_set():
            lease.end()
        if not kwargs.get("stream"):
            response.content  # noqa: B018 - read, and kept
        return response

    def hang_up(self) -> None:
        """Close the connections now: for TCP, `close` leaves that to the garbage collector."""
        for adapter in self.adapters.values():
            pools = getattr(getattr(adapter, "poolmanager", None), "pools", {})
            for key in list(pools.keys()):
                pools[key].close()
        self.close()


class Client:
    """The calls. `work` functions get docker-py's low-level client and run in a thread of the pool."""

    def __init__(self, endpoint: Endpoint, api: _Api, executor: ThreadPoolExecutor, workers: int) -> None:
        self.endpoint = endpoint
        self.api_version: str = api.api_version
        self._api = api
        self._executor = executor
        self._long_calls = asyncio.Semaphore(workers // 2)

    @classmethod
    async def connect(cls, environ: Mapping[str, str], *, timeout: float) -> "Client":  # noqa: ASYNC109
        """Find the engine and agree on the API version. Raises EngineDenied, EngineUnreachable, EngineTimeout."""
        endpoint = resolve(environ, _docker_context)
        endpoint.ssl_context()  # bad files are told before anything is dialled
        await _dial(endpoint, timeout)
        workers = max(FEWEST_THREADS, min(MOST_THREADS, 2 * (os.cpu_count() or 1)))
        executor = ThreadPoolExecutor(workers, thread_name_prefix="engine")
        try:
            first = _open(endpoint, docker.constants.MINIMUM_DOCKER_API_VERSION, workers)
            try:
                version = await _agree(cls(endpoint, first, executor, workers), timeout)
            finally:
                first.hang_up()
            return cls(endpoint, _open(endpoint, version, workers), executor, workers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise

    async def close(self) -> None:
        """Close the connections. A call still running ends by its own bound."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._api.hang_up()

    async def call(self, doing: str, work: Callable[[Any], T], *, deadline: float) -> T:
        """Run `work` and return what it returns. `doing` completes "asked the engine to".

        The deadline, in seconds, covers the wait for a thread. A call that is cancelled is finished first (within its
        deadline), so that whoever cleans up after it sees what it made. Raises EngineTimeout and the mapped errors.
        """
        lease = _Lease(deadline)
        future = self._executor.submit(self._run, lease, doing, work)
        try:
            return await self._bounded(future, lease, doing)
        except asyncio.CancelledError:
            if not future.cancel():
                settled = asyncio.ensure_future(_settled(future))
                settled.add_done_callback(lambda done: done.cancelled() or done.exception())
                await asyncio.wait({settled}, timeout=deadline)
            raise

    async def long_call(
        self, doing: str, items: Callable[[Any], Iterable[T]], on_item: Callable[[T], None], *, deadline: float
    ) -> None:
        """Hand every item of a long answer to `on_item`, in order, on the event loop, the next when it took the last.

        A cancel ends it at once. What `on_item` raises ends it too, and is raised here.
        """
        loop = asyncio.get_running_loop()
        lease = _Lease(deadline)

        def work(api: Any) -> None:
            for item in items(api):
                if lease.over.is_set():
                    return
                taken: Future[None] = Future()
                loop.call_soon_threadsafe(_deliver, on_item, item, taken)
                taken.result(timeout=deadline)

        async with self._long_calls:
            future = self._executor.submit(self._run, lease, doing, work)
            try:
                await self._bounded(future, lease, doing)
            except asyncio.CancelledError:
                future.cancel()
                lease.end()
                raise

    async def _bounded(self, future: "Future[T]", lease: _Lease, doing: str) -> T:
        try:
            async with asyncio.timeout(lease.seconds):
                return await _settled(future)
        except TimeoutError as error:
            future.cancel()
            lease.end()
            raise EngineTimeout(
                f"The engine at {self.endpoint.url} did not {doing} within {lease.seconds:g} s; "
                "whether it will is unknown. Check its load and try again."
            ) from error

    def _run(self, lease: _Lease, doing: str, work: Callable[[Any], T]) -> T:
        self._api.lease.current = lease
        try:
            return work(self._api)
        except SandboxError:
            raise
        except docker.errors.APIError as error:
            raise _refusal(error, doing) from error
        except (requests.RequestException, HTTPError, docker.errors.DockerException, OSError) as error:
            raise self._no_answer(error, doing) from _culprit(error)
        finally:
            lease.response = None  # who keeps a response keeps its connection open, also after `close`
            del self._api.lease.current

    def _no_answer(self, error: Exception, doing: str) -> EngineError:
        cause = _culprit(error)
        if isinstance(cause, OSError):
            return explain(self.endpoint, cause, doing)
        if isinstance(error, requests.ConnectionError | HTTPError):  # the latter where an answer breaks off
            return explain(self.endpoint, ConnectionResetError(str(error)), doing)
        return EngineError(f"The engine at {self.endpoint.url} could not be asked to {doing}: {error}.")


async def _dial(endpoint: Endpoint, bound: float) -> None:
    """Open one connection and close it, to learn from the system itself why it cannot be opened.

    An engine that is just starting refuses for a moment, so that alone is tried again; all else is told at once.
    """

    def dial() -> None:
        family = socket.AF_INET if endpoint.unix_path is None else socket.AF_UNIX
        if family == socket.AF_INET:
            socket.create_connection((endpoint.host, endpoint.port), timeout=bound).close()
            return
        with socket.socket(family) as line:
            line.settimeout(bound)
            line.connect(str(endpoint.unix_path))

    attempts = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(CONNECT_TRIES),
        wait=tenacity.wait_exponential(multiplier=0.1, max=0.5),
        retry=tenacity.retry_if_exception_type(ConnectionError),
        reraise=True,
    )
    try:
        await attempts(asyncio.to_thread, dial)
    except TimeoutError as error:
        raise EngineUnreachable(
            f"The engine at {endpoint.url} cannot be reached: nothing answered within {bound:g} s; "
            "check the address and the network."
        ) from error
    except OSError as error:
        raise explain(endpoint, error, "answer") from error


async def _agree(client: Client, bound: float) -> str:
    """Return the API version to speak."""

    def ask(api: Any) -> Any:
        try:
            return api.version(api_version=False)
        except ValueError:  # what answered is not even JSON
            return None

    try:
        return str((await client.call("tell its version", ask, deadline=bound))["ApiVersion"])
    except (EngineRefused, KeyError, TypeError) as error:
        raise EngineUnreachable(
            f"Something answers at {client.endpoint.url}, but it is no container engine; "
            "check DOCKER_HOST or the docker context."
        ) from error


async def _settled(future: "Future[T]") -> T:
    """Wait for a thread without cancelling it when the waiter is cancelled."""
    wrapped = asyncio.wrap_future(future)
    wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(wrapped)


def _deliver(on_item: Callable[[T], None], item: T, taken: "Future[None]") -> None:
    try:
        on_item(item)
    except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
        taken.set_exception(error)
    else:
        taken.set_result(None)


def _open(endpoint: Endpoint, version: str, workers: int) -> _Api:
    tls: Any = False
    if (files := endpoint.tls) is not None:
        pair = (files.cert, files.key) if files.cert else None
        tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=files.ca, verify=files.verify)
    api = _Api(endpoint.base_url, version=version, tls=tls, max_pool_size=workers)
    if (context := endpoint.ssl_context()) is not None:
        api.mount("https://", _Encrypted(context, pool_maxsize=workers))
    api.trust_env = False  # a web proxy, or its certificate bundle, must not come between us and the engine
    return api


def _docker_context(name: str | None) -> Context | None:
    """Look a context up in docker's own configuration (DOCKER_CONFIG of this process). None is the built-in one."""
    try:
        found = ContextAPI.get_context(name)
    except Exception as error:  # docker-py raises the bare class for a damaged context
        raise EngineUnreachable(f"The docker context {name or 'in use'} cannot be read: {error}.") from error
    if found is None or not found.Host:
        raise EngineUnreachable(
            f"There is no docker context named {name or 'as the current one'!r}; see `docker context ls`, "
            "or set DOCKER_HOST."
        )
    if found.name == "default":
        return None
    files = found.TLSConfig
    if files is None:
        return Context(found.Host, None)
    cert, key = files.cert or (None, None)
    return Context(found.Host, TlsFiles(files.ca_cert, cert, key, bool(files.verify)))


def _refusal(error: docker.errors.APIError, doing: str) -> SandboxError:
    return refusal(int(error.status_code or 0), str(error.explanation or error.response.reason), doing)


def _culprit(error: BaseException) -> OSError | None:
    """Find what the operating system said, below the layers of requests and urllib3; None where it said nothing."""
    return next((found for found in _chain(error) if _is_of_the_system(found)), None)  # type: ignore[return-value]


def _is_of_the_system(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _chain(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    if error is None or depth > 8:
        return
    yield error
    inside = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
    for found in inside:
        if isinstance(found, BaseException):
            yield from _chain(found, depth + 1)
