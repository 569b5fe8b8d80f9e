"""A file system whose power can be cut: what was not synced by then is lost, or half there, as on a real disk.

A program that speaks the FUSE protocol itself, so it needs root and /dev/fuse and nothing else. Data of a file are safe
after its fsync, names in a folder after an fsync of that folder. Of what is not safe at the cut each sector and each
name survives or does not, by chance, in any order: a write of later may be there without one of before.

Reads commands on standard input and answers each with one line:
    mount FOLDER        mount what there is
    cut COUNT KEEP      cut the power at the COUNT-th change from now on (write, sync, truncation, name); of what is not
                        safe then, survives the part KEEP (0 to 1). Answers at once; says `off` when it has happened
    off                 cut it now, if it is not off yet
    fail COUNT ERROR    answer the COUNT-th change from now on with an error (EIO, ENOSPC); what a failed sync was to
                        make safe is taken for safe by every later one, as Linux does
    fail-names COUNT ERROR  the same with the COUNT-th sync of a folder from now on
    export FOLDER       write what is left into a folder of a real disk
"""

import ctypes
import errno
import os
import select
import stat
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

SECTOR = 512
MAX_WRITE = 1 << 17
DETACH = 2
ROOT = 1

(LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR, RENAME, OPEN, READ, WRITE) = (
    1,
    2,
    3,
    4,
    9,
    10,
    11,
    12,
    14,
    15,
    16,
)
(STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR) = 17, 18, 20, 25, 26, 27, 28, 29, 30
(CREATE, INTERRUPT, BATCH_FORGET, RENAME2) = 35, 36, 42, 45
CHANGES = {SETATTR, MKDIR, UNLINK, RMDIR, RENAME, WRITE, FSYNC, FSYNCDIR, CREATE, RENAME2}
SILENT = {FORGET, INTERRUPT, BATCH_FORGET}


class Refused(Exception):  # noqa: N818 - reads as what happened
    def __init__(self, number: int) -> None:
        self.number = number


@dataclass
class Node:
    """A file or a folder: as it is seen, and as it is on the platter."""

    number: int
    mode: int
    data: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    names: dict[bytes, int] = field(default_factory=dict)
    safe_names: dict[bytes, int] = field(default_factory=dict)

    def write(self, offset: int, data: bytes) -> None:
        put(self.data, offset, data)
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        resize(self.data, size)
        self.pending.append((size, None))

    def sync(self) -> None:
        for offset, data in self.pending:
            if data is None:
                resize(self.safe, offset)
            else:
                put(self.safe, offset, data)
        self.pending.clear()
        self.safe_names = dict(self.names)

    def forget(self, random: Random, keep: float) -> None:
        """Lose what chance does not keep."""
        for offset, data in self.pending:
            if data is None:
                if random.random() < keep:
                    resize(self.safe, offset)
                continue
            for begin in range(0, len(data), SECTOR):
                if random.random() < keep:
                    put(self.safe, offset + begin, data[begin : begin + SECTOR])
        for name in sorted({*self.names, *self.safe_names}):
            if self.names.get(name) != self.safe_names.get(name) and random.random() < keep:
                if name in self.names:
                    self.safe_names[name] = self.names[name]
                else:
                    del self.safe_names[name]
        self.pending.clear()
        self.data, self.names = bytearray(self.safe), dict(self.safe_names)


def put(data: bytearray, offset: int, piece: bytes) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def resize(data: bytearray, size: int) -> None:
    del data[size:]
    data.extend(bytes(size - len(data)))


class Disk:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o700)}
        self.next = ROOT + 1
        self.fuse = -1
        self.folder = ""
        self.left: int | None = None
        self.keep = 0.0
        self.failing: tuple[int, int] | None = None
        self.failable = CHANGES
        self.verbs: dict[int, Callable[[int, memoryview], bytes]] = {
            LOOKUP: self.lookup, GETATTR: self.getattr, SETATTR: self.setattr, MKDIR: self.mkdir,
            UNLINK: self.unlink, RMDIR: self.unlink, RENAME: self.rename, RENAME2: self.rename2, OPEN: self.opened,
            READ: self.read, WRITE: self.write, STATFS: self.statfs, RELEASE: self.nothing, FSYNC: self.fsync,
            FLUSH: self.nothing, INIT: self.init, OPENDIR: self.opened, READDIR: self.readdir,
            RELEASEDIR: self.nothing, FSYNCDIR: self.fsync, CREATE: self.create,
        }  # fmt: skip

    # ---- power

    def mount(self, folder: str) -> None:
        self.fuse, self.folder = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC), folder
        options = f"fd={self.fuse},rootmode=40700,user_id={os.getuid()},group_id={os.getgid()}"
        flags = os.ST_NOSUID | os.ST_NODEV
        if LIBC.mount(b"forgetful", os.fsencode(folder), b"fuse.forgetful", flags, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")

    def cut(self) -> None:
        """Take the power away: who is in the middle of something gets an error, and the rest is up to chance."""
        if self.fuse < 0:
            return
        os.close(self.fuse)
        self.fuse, self.left, self.failing = -1, None, None
        LIBC.umount2(os.fsencode(self.folder), DETACH)
        for node in self.nodes.values():
            node.forget(self.random, self.keep)

    def export(self, folder: Path, number: int = ROOT) -> None:
        for name, child in self.nodes[number].names.items():
            path = folder / os.fsdecode(name)
            if stat.S_ISDIR(self.nodes[child].mode):
                path.mkdir(exist_ok=True)
                self.export(path, child)
            else:
                path.write_bytes(self.nodes[child].data)

    # ---- requests

    def serve(self) -> None:
        """Answer one request."""
        try:
            request = os.read(self.fuse, MAX_WRITE + 4096)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                return
            raise
        _, code, unique, node = struct.unpack_from("=IIQQ", request)
        if code in SILENT:
            return
        if code in CHANGES and self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.cut()
                print("off", flush=True)
                return
        try:
            if code in self.failable:
                self.fail(code, node)
            number, answer = 0, self.verbs.get(code, self.unknown)(node, memoryview(request)[40:])
        except Refused as refused:
            number, answer = -refused.number, b""
        os.write(self.fuse, struct.pack("=IiQ", 16 + len(answer), number, unique) + answer)

    def fail(self, code: int, node: int) -> None:
        """Raise the error that is due now, if any."""
        if self.failing is None:
            return
        left, number = self.failing
        self.failing = (left - 1, number) if left > 0 else None
        if left == 0:
            if code == FSYNC:
                self.nodes[node].pending.clear()
            raise Refused(number)

    def init(self, _: int, given: memoryview) -> bytes:
        _, minor, readahead = struct.unpack_from("=III", given)
        big_writes = 1 << 5
        return struct.pack("=IIIIHHIIHHI28x", 7, min(minor, 31), readahead, big_writes, 12, 9, MAX_WRITE, 1, 0, 0, 0)

    def unknown(self, _: int, _given: memoryview) -> bytes:
        raise Refused(errno.ENOSYS)

    def nothing(self, _: int, _given: memoryview) -> bytes:
        return b""

    def child(self, folder: int, name: bytes) -> Node:
        number = self.nodes[folder].names.get(name)
        if number is None:
            raise Refused(errno.ENOENT)
        return self.nodes[number]

    def make(self, folder: int, name: bytes, mode: int) -> Node:
        if name in self.nodes[folder].names:
            raise Refused(errno.EEXIST)
        node = self.nodes[self.next] = Node(self.next, mode)
        self.next += 1
        self.nodes[folder].names[name] = node.number
        return node

    def lookup(self, folder: int, given: memoryview) -> bytes:
        return entry(self.child(folder, text(given)))

    def getattr(self, node: int, _given: memoryview) -> bytes:
        return struct.pack("=QII", 3600, 0, 0) + attributes(self.nodes[node])

    def setattr(self, node: int, given: memoryview) -> bytes:
        valid, size, mode = struct.unpack_from("=I12xQ44xI", given)
        if valid & 1:
            self.nodes[node].mode = stat.S_IFMT(self.nodes[node].mode) | stat.S_IMODE(mode)
        if valid & 8:
            self.nodes[node].truncate(size)
        return self.getattr(node, given)

    def mkdir(self, folder: int, given: memoryview) -> bytes:
        mode, umask = struct.unpack_from("=II", given)
        return entry(self.make(folder, text(given[8:]), stat.S_IFDIR | (mode & ~umask)))

    def create(self, folder: int, given: memoryview) -> bytes:
        _, mode, umask = struct.unpack_from("=III", given)
        return entry(self.make(folder, text(given[16:]), stat.S_IFREG | (mode & ~umask))) + struct.pack("=QII", 0, 0, 0)

    def unlink(self, folder: int, given: memoryview) -> bytes:
        self.child(folder, text(given))
        del self.nodes[folder].names[text(given)]
        return b""

    def rename(self, folder: int, given: memoryview, names: int = 8) -> bytes:
        (target,) = struct.unpack_from("=Q", given)
        old, new = bytes(given[names:]).split(b"\0")[:2]
        number = self.child(folder, old).number
        del self.nodes[folder].names[old]
        self.nodes[target].names[new] = number
        return b""

    def rename2(self, folder: int, given: memoryview) -> bytes:
        return self.rename(folder, given, names=16)

    def opened(self, _: int, _given: memoryview) -> bytes:
        return struct.pack("=QII", 0, 0, 0)

    def read(self, node: int, given: memoryview) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", given)
        return bytes(self.nodes[node].data[offset : offset + size])

    def write(self, node: int, given: memoryview) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", given)
        self.nodes[node].write(offset, bytes(given[40 : 40 + size]))
        return struct.pack("=II", size, 0)

    def fsync(self, node: int, _given: memoryview) -> bytes:
        self.nodes[node].sync()
        return b""

    def statfs(self, _: int, _given: memoryview) -> bytes:
        return struct.pack("=QQQQQIIII24x", 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096, 0)

    def readdir(self, node: int, given: memoryview) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", given)
        found = b""
        for place, (name, number) in enumerate(list(self.nodes[node].names.items())[offset:], start=offset + 1):
            kind = stat.S_IFMT(self.nodes[number].mode) >> 12
            record = struct.pack("=QQII", number, place, len(name), kind) + name
            record += bytes(-len(record) % 8)
            if len(found) + len(record) > size:
                break
            found += record
        return found


def text(given: memoryview) -> bytes:
    return bytes(given).split(b"\0", 1)[0]


def attributes(node: Node) -> bytes:
    size, links = len(node.data), 2 if stat.S_ISDIR(node.mode) else 1
    times = (0, 0, 0, 0, 0, 0)
    return struct.pack(
        "=QQQQQQIIIIIIIIII", node.number, size, -(-size // 512), *times, node.mode, links, os.getuid(), os.getgid(),
        0, 4096, 0,
    )  # fmt: skip


def entry(node: Node) -> bytes:
    return struct.pack("=QQQQII", node.number, 0, 3600, 3600, 0, 0) + attributes(node)


def obey(disk: Disk, words: list[str]) -> None:
    match words:
        case ["mount", folder]:
            disk.mount(folder)
        case ["cut", count, keep]:
            disk.left, disk.keep = int(count), float(keep)
        case ["fail" | "fail-names", count, name]:
            disk.failing = int(count), getattr(errno, name)
            disk.failable = CHANGES if words[0] == "fail" else {FSYNCDIR}
        case ["off"]:
            disk.cut()
        case ["export", folder]:
            disk.export(Path(folder))
        case _:
            raise ValueError(words)
    print("done", flush=True)


def main() -> None:
    disk = Disk(Random(int(sys.argv[1])))
    try:
        while True:
            ready, _, _ = select.select([0] + ([disk.fuse] if disk.fuse >= 0 else []), [], [])
            if 0 in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                obey(disk, line.split())
            elif disk.fuse in ready:
                disk.serve()
    finally:
        disk.cut()


LIBC = ctypes.CDLL(None, use_errno=True)

if __name__ == "__main__":
    main()
