"""The one door to SQLite: one file, one owner, one writer thread.

WAL with `synchronous=FULL`: a commit that returned survives a power cut. Every write transaction checks that this
owner's epoch is still the newest, so an owner that was replaced while it slept cannot write any more.

The lock file belongs to the process that holds the flock on it. An owner that promised to renew a lease and does not
is stalled: who asks for it by name may take the store, with a lock file of its own.
"""

import asyncio
import os
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

from acp_runtime.core.errors import StoreConflict, StoreError, StoreOwned, StoreTooNew
from acp_runtime.store.disk import trouble
from acp_runtime.store.ownership import BUSY_SECONDS, Reading, own, sync_names

T = TypeVar("T")
SCHEMA_VERSION: Final = 8


class Database:
    """An owned SQLite file. All work runs on its one thread, in order; `close` releases the ownership."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int, worker: ThreadPoolExecutor) -> None:
        self.path = path
        self.epoch = 0
        self.store_id = ""
        self._connection = connection
        self._lock = lock
        self._worker = worker

    @classmethod
    async def open(cls, path: Path, *, supplant_at: Reading | None = None) -> "Database":
        """Own the store at `path`, made when absent (mode 0600).

        With `supplant_at` an owner whose lease is over at that reading of the clock is replaced. Raises `StoreOwned`
        (naming the owner's pid), `StoreTooNew`, or `StoreError` when the file cannot be used.
        """
        lock = own(path, supplant_at)
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(worker, _connect, path)
        except BaseException:
            worker.shutdown()
            os.close(lock)
            raise
        self = cls(path, connection, lock, worker)
        try:
            self.epoch, self.store_id = await self.write(_take_over, fenced=False)
            await self._submit(_keep_names, path)
        except BaseException:
            await self.close()
            raise
        return self

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the store's thread and return its result."""
        return await self._submit(self._run, work)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, fenced: bool = True) -> T:
        """Run `work` in one transaction: all of it is durable when this returns, or none of it happened."""
        return await self._submit(self._transact, work, fenced)

    def _submit(self, run: Callable[..., T], *values: Any) -> "asyncio.Future[T]":
        if self._lock < 0:
            raise StoreError(f"the store {self.path} is closed; open it again")
        return asyncio.get_running_loop().run_in_executor(self._worker, run, *values)

    async def close(self) -> None:
        """Close the file and give the ownership up, also when cancelled. Idempotent."""
        if self._lock < 0:
            return
        lock, self._lock = self._lock, -1
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._connection.close)
        finally:
            self._worker.shutdown()
            self._connection.close()  # who is cancelled may have taken that back before it began
            os.close(lock)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            raise StoreError(f"the store {self.path} failed: {error}") from error

    def _transact(self, work: Callable[[sqlite3.Connection], T], fenced: bool) -> T:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if fenced:
                    self._fence(connection)
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            raise StoreConflict(f"the store {self.path} holds something else already: {error}") from error
        except sqlite3.Error as error:
            raise trouble(self.path, "could not be written", error) from error
        return result

    def _fence(self, connection: sqlite3.Connection) -> None:
        newest = int(connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0])
        if newest != self.epoch:
            raise StoreOwned(f"the store {self.path} was taken over (epoch {newest}, this process has {self.epoch})")


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the store {path} cannot be opened: {error}") from error
    try:
        connection.row_factory = sqlite3.Row
        for pragma in (
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {BUSY_SECONDS * 1000:.0f}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise trouble(path, "cannot be opened", error) from error
        raise
    return connection


def _keep_names(path: Path) -> None:
    """Make the names of the store's files safe. SQLite tries it once, for its log, and passes over it when it fails."""
    try:
        sync_names(path.parent)
    except OSError as error:
        raise trouble(path, "cannot be kept", error) from error


def migrations() -> list[tuple[int, str]]:
    """Return (version, SQL) of every migration, in order."""
    folder = files("acp_runtime.store") / "migrations"
    found = ((int(each.name[:4]), each.read_text(encoding="utf-8")) for each in folder.iterdir() if each.name[0] == "0")
    return sorted(found)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to `SCHEMA_VERSION`, each step in one transaction. Raises `StoreTooNew` for a newer store."""
    current = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if current > SCHEMA_VERSION:
        raise StoreTooNew(f"the store has schema {current}, this version knows {SCHEMA_VERSION}: use a newer version")
    for version, sql in migrations():
        if version > current:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {version};\nCOMMIT;")


def _take_over(connection: sqlite3.Connection) -> tuple[int, str]:
    """Raise the epoch, and give a new store its id; return both. A lease of the owner before means nothing now."""
    connection.execute("DELETE FROM meta WHERE key = 'lease'")
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('epoch', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
    )
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?)", (secrets.token_hex(4),))
    found = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('epoch', 'store')").fetchall())
    return int(found["epoch"]), str(found["store"])
