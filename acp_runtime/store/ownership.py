"""Who owns a store: the process that holds the flock on its lock file, which names it.

A lease tells a stalled owner from a living one: a moment on the clock of one boot, kept in the store, before which the
owner promised to renew it. An owner without a lease is never replaced while it holds the lock. A replaced owner keeps
its flock, but on a file that is not the lock file any more; the epoch keeps it from writing.
"""

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final, TypeAlias

from acp_runtime.core.errors import OtherLauncher, StoreError, StoreOwned
from acp_runtime.store.disk import trouble

Reading: TypeAlias = tuple[str, int]
"""A boot, and monotonic milliseconds of it."""

BUSY_SECONDS: Final = 5.0
_TRIES: Final = 8


def own(path: Path, supplant_at: Reading | None) -> int:
    """Return the descriptor that holds the store. Raises `StoreOwned` and `StoreError`."""
    name = path.with_name(path.name + ".lock")
    try:
        make_folder(path.parent)
        lock = _lock(name)
        if lock is None and supplant_at is not None:
            lock = _supplant(path, name, supplant_at)
    except OSError as error:
        raise trouble(path, "cannot be used", error) from error
    except sqlite3.Error as error:
        raise StoreError(f"the store {path} cannot be taken from its owner: {error}") from error
    if lock is None:
        raise StoreOwned(f"the store {path} is owned by the running process {_owner(name)}; stop it or use another")
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(lock)
        raise trouble(path, "cannot be used", error) from error
    return lock


def make_folder(folder: Path) -> None:
    """Make a folder that a power cut does not take away again, with all that was committed in it."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        for each in missing:
            sync_names(each.parent)
    except OSError:
        for each in missing:  # else the next try finds them, and takes them for safe
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


def sync_names(folder: Path) -> None:
    """Have the names in a folder survive a power cut. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def put_lease(connection: sqlite3.Connection, until: Reading) -> None:
    """Keep the promise of an owner, inside of a transaction."""
    boot, moment = until
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('lease', ?)", (f"{boot} {moment}",))


def put_launcher(connection: sqlite3.Connection, name: str) -> None:
    """Note how agents of this store are run, inside of a transaction.

    Raises `OtherLauncher` while subagents are open that were run in another way: this owner would not find them, and
    take them for dead.
    """
    found = connection.execute("SELECT value FROM meta WHERE key = 'launcher'").fetchone()
    living = "SELECT count(*) FROM subagent WHERE lifecycle NOT IN ('stopped', 'failed')"
    count = int(connection.execute(living).fetchone()[0])
    if found is not None and found[0] != name and count:
        way = {"local": "--unsafe-local"}
        has, wants = (way.get(str(each), "in containers") for each in (found[0], name))
        sentence = f"{count} open subagents of this store were started {has}, this owner would look for them {wants}"
        raise OtherLauncher(f"{sentence}; run it as before and stop them first, or use another store")
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('launcher', ?)", (name,))


def _lock(name: Path) -> int | None:
    """Return a lock on the file of that name, or None when another holds it."""
    for _ in range(_TRIES):
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been put aside between the open and the flock.
            if os.fstat(lock).st_ino == name.stat().st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass
        os.close(lock)
    return None


def _supplant(path: Path, name: Path, now: Reading) -> int | None:
    """Put the lock file of a stalled owner aside and return a lock on a new one; None when the owner is not stalled.

    Raises `StoreError` for one that stands still in the middle of a write: SQLite lets nobody else write then.
    """
    if (turn := _lock(name.with_name(name.name + ".next"))) is None:
        return None
    try:
        # Never made here: its owner, which may be about to make it, gives it the mode that it is to have.
        there = f"{path.absolute().as_uri()}?mode=rw"
        opened = sqlite3.connect(there, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        with contextlib.closing(opened) as connection:
            if not _lapsed(connection, now):
                return None
            connection.execute("BEGIN IMMEDIATE")
            # An owner that has woken up just now may have renewed it.
            if not _lapsed(connection, now):
                return None
            lock = _put_aside(name)
            try:
                # The next one to look must not think the new owner stalled.
                connection.execute("DELETE FROM meta WHERE key = 'lease'")
                connection.execute("COMMIT")
            except BaseException:
                os.close(lock)
                raise
            return lock
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN:
            return None
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        sentence = f"the store {path} is owned by process {_owner(name)}, which stands still in the middle of a write"
        raise StoreError(f"{sentence}; end it, as with `kill -9`, or let it go on") from error
    finally:
        os.close(turn)


def _put_aside(name: Path) -> int:
    fresh = name.with_name(f"{name.name}.{os.getpid()}")
    lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(name)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _owner(name: Path) -> str:
    return name.read_text(errors="replace")[:32].strip() or "unknown"


def _lapsed(connection: sqlite3.Connection, now: Reading) -> bool:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        return False
    found = connection.execute("SELECT value FROM meta WHERE key = 'lease'").fetchone()
    if found is None:
        return False
    boot, _, moment = str(found[0]).rpartition(" ")
    return boot != now[0] or int(moment) < now[1]
