"""What a holder is started with, what it refuses by name, and what its agent may do: nothing but its work."""

import asyncio
import contextlib
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest

from acp_runtime.manager.local_channel import LocalChannel
from sandbox.errors import SettingRefused
from sandbox.holder import frames
from sandbox.holder.errors import AgentNotStarted
from sandbox.holder.frames import Type
from sandbox.holder.start import start
from tests.contract.holder.held import BOUND, GID, MARK, ON_THE_SOCKET, UID, Held, ended, holders

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the agent is another user then")


async def refusal(held: Held, payload: bytes) -> str:
    """Give bytes to `holder run` and return what it answers; nothing of it may stay."""
    process = await asyncio.create_subprocess_exec(
        str(held.program), "run", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BOUND):
        out, _ = await process.communicate(payload)
    assert process.returncode == 1
    (frame,) = frames.Splitter().feed(out)
    assert frame.type == Type.ERROR
    for pid in holders(held.journal):
        await ended(pid)
    assert not held.socket.exists()
    return frame.payload.decode()


def changed(held: Held, **fields: str | None) -> bytes:
    """Return settings with some other values; None leaves one out."""
    whole = held.settings(["cat"]).frame()[frames.HEADER :]
    kept = [pair for pair in whole.split(b"\0") if pair and pair.split(b"=")[0].decode() not in fields]
    kept += [f"{key}={value}".encode() for key, value in fields.items() if value is not None]
    return frames.encode(Type.SETTINGS, payload=b"".join(pair + b"\0" for pair in kept))


@ON_THE_SOCKET
@pytest.mark.parametrize(
    ("fields", "word"),
    [
        *(({name: None}, "needed") for name in ("journal", "socket", "token", "arg", "uid", "gid")),
        *(({name: ""}, name) for name in ("journal", "socket", "token", "epoch", "uid", "ttl")),
        ({"uid": "0"}, "uid"),
        ({"gid": "0"}, "gid"),
        ({"uid": "-1"}, "uid"),
        ({"uid": "4294967295"}, "uid"),
        ({"token": "short"}, "token"),
        ({"token": "x" * 65}, "token"),
        ({"ttl": "0"}, "ttl"),
        ({"ttl": "1e3"}, "ttl"),
        ({"epoch": "99999999999999999999"}, "epoch"),
        ({"out_bound": "1"}, "out_bound"),
        ({"open_files": "1"}, "open_files"),
        ({"colour": "red"}, "colour"),
        ({"y" * 500: "long"}, "y" * 64),
    ],
)
async def test_settings_out_of_range_are_refused_by_name(held: Held, fields, word):
    said = await refusal(held, changed(held, **fields))
    assert said.startswith("settings_refused: ")
    assert word in said


@ON_THE_SOCKET
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"S",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100),
        struct.pack(">BBHLQL", ord("S"), 0, 0, 2**32 - 1, 0, 0),
        frames.encode(Type.HELLO, payload=b"journal=/x\0"),
        frames.encode(Type.SETTINGS, payload=b"no equals sign\0"),
        frames.encode(Type.SETTINGS, payload=b"journal=/x\0")[:-1] + b"y",
        frames.encode(Type.SETTINGS, payload=b"journal=/x\0")[:-2],
        frames.encode(Type.SETTINGS, payload=b"arg=x\0" * 4097),
    ],
)
async def test_what_are_no_settings_is_refused_by_name(held: Held, payload: bytes):
    assert (await refusal(held, payload)).startswith("settings_refused: ")


@ON_THE_SOCKET
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"journal": "/nowhere/at/all"}, "journal_failed"),
        ({"journal": "/dev/null"}, "journal_failed"),
        ({"socket": "/nowhere/at/all"}, "socket_failed"),
        ({"socket": "/tmp/" + "s" * 108}, "socket_failed"),
        ({"socket": "/tmp/"}, "socket_failed"),
        ({"shared": "/nowhere/at/all"}, "socket_failed"),
        ({"cwd": "/nowhere/at/all"}, "agent_failed"),
    ],
)
async def test_places_that_cannot_be_used_are_refused_by_name(held: Held, fields, name):
    assert (await refusal(held, changed(held, **fields))).startswith(f"{name}: ")


async def test_an_agent_that_cannot_be_executed_is_told_and_nothing_stays(held: Held):
    for argv in (["/nowhere/agent"], ["no-such-agent"], ["/etc/passwd"]):
        with pytest.raises(AgentNotStarted, match="cannot execute the agent"):
            await held.start(*argv)
        for pid in holders(held.journal):  # it has said why, and is on its way
            await ended(pid)
        assert (held.processes(), held.socket.exists()) == ([], False)
    await held.start("cat")


def test_settings_with_a_nul_or_too_many_bytes_are_refused_before_anything_starts():
    place = {"journal": "/j", "socket": "/s", "token": "0" * 16, "epoch": 1, "cwd": "/"}
    with pytest.raises(SettingRefused, match="NUL"):
        frames.Settings(argv=["a\0b"], env={}, **place).frame()
    with pytest.raises(SettingRefused, match="1048576"):
        frames.Settings(argv=["x"], env={"LONG": "y" * (1 << 20)}, **place).frame()
    assert "0" * 16 not in repr(frames.Settings(argv=["x"], env={"KEY": "secret"}, **place))
    assert "secret" not in repr(frames.Settings(argv=["x"], env={"KEY": "secret"}, **place))


async def said_by(held: Held, *argv: str, **settings: object) -> str:
    """Run an agent to its end and return what it said."""
    await held.start(*argv, **settings)
    heard, _ = await held.attach()
    await heard.until(lambda: heard.closed)
    assert bytes(heard.stderr) == b""
    return heard.stdout.decode()


async def test_an_agent_has_no_rights_and_no_groups(held: Held):
    said = await said_by(held, "cat", "/proc/self/status")
    told = {name: value.split() for name, _, value in (line.partition(":") for line in said.splitlines())}
    assert (told["Uid"], told["Gid"]) == ([str(UID)] * 4, [str(GID)] * 4)
    if os.geteuid() == 0:
        assert told["Groups"] == []
        assert told["CapBnd"] == ["0000000000000000"]
    assert {name: told[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk", "SigIgn")} == {
        name: ["0000000000000000"] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk", "SigIgn")
    }
    assert told["NoNewPrivs"] == ["1"]


async def test_an_agent_has_three_descriptors(held: Held):
    assert (await said_by(held, "ls", "/proc/self/fd")).split() == ["0", "1", "2", "3"]  # the last is the folder's


async def test_an_agent_has_the_environment_the_folder_and_the_limits_that_were_set(held: Held):
    env = {"PATH": os.environ["PATH"], MARK: held.mark, "A": "b=c d"}
    script = "umask; pwd; ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc; cut -d' ' -f5,6 /proc/$$/stat; echo $$; env"
    said = await said_by(held, "sh", "-c", script, cwd="/tmp", env=env, open_files=100)
    *told, group, pid = said.splitlines()[:8]
    assert told == ["0022", "/tmp", "100", "100", "0", "0"]
    assert group.split() == [pid, pid]
    found = dict(line.split("=", 1) for line in said.splitlines()[8:])
    assert env.items() <= found.items()
    assert found.keys() - env.keys() <= {"PWD", "OLDPWD", "SHLVL", "_"}


TRESPASS = """
for path in state o-0000000000000000; do cat {journal}/$path >/dev/null 2>&1 && echo "read $path"; done
for path in environ mem fd/3; do cat /proc/{holder}/$path >/dev/null 2>&1 && echo "read $path"; done
cat /proc/{holder}/stat >/dev/null 2>&1 && echo seen
ls {journal} >/dev/null 2>&1 && echo listed
kill -0 {holder} 2>/dev/null && echo signalled
echo end
"""


@root_only
async def test_an_agent_reads_neither_journal_nor_token_nor_signals_its_holder(held: Held):
    await held.start("sh", "-c", 'read script; eval "$script"; read x')
    held.folder.chmod(0o755)
    heard, channel = await held.attach()
    (holder,) = holders(held.journal)
    script = TRESPASS.strip().format(journal=held.journal, holder=holder).replace("\n", "; ")
    await channel.send(script.encode() + b"\n")
    await heard.until(lambda: b"end\n" in heard.stdout)
    assert (bytes(heard.stdout), bytes(heard.stderr)) == (b"seen\nend\n", b"")


@root_only
@ON_THE_SOCKET
async def test_a_holder_cannot_be_read_by_an_agent_of_its_own_user(held: Held):
    """Neither is root here, so that only being closed to tracing keeps the token."""
    os.chown(held.folder, UID, GID)
    become = (
        f"import os, sys; os.setgroups([]); os.setgid({GID}); os.setuid({UID}); os.execv(sys.argv[1], sys.argv[1:])"
    )
    program = held.folder / "holder"
    shutil.copy(held.program, program)

    async def run(receiver):
        argv = (sys.executable, "-c", become, str(program), "run")
        return await LocalChannel.open(argv, cwd=Path("/"), env={}, receiver=receiver)

    await start(run, held.settings(["sh", "-c", 'read script; eval "$script"; read x']))
    heard, channel = await held.attach()
    holder = next(pid for pid in holders(held.journal) if pid != channel.state.pid)
    script = f"cd /proc/{holder}; for x in environ mem maps fd/3; do cat $x >/dev/null 2>&1 && echo $x; done; echo end"
    await channel.send(script.encode() + b"\n")
    await heard.until(lambda: b"end\n" in heard.stdout)
    assert bytes(heard.stdout) == b"end\n"


async def test_the_token_is_in_no_argument_no_environment_and_no_file(held: Held):
    await held.start("sleep", "1000")
    await held.attach()
    assert holding(held.mark, "environ")  # what is there is found
    assert holding(held.token, "cmdline") == holding(held.token, "environ") == []
    assert all(held.token.encode() not in path.read_bytes() for path in held.journal.iterdir())


def holding(text: str, name: str) -> list[Path]:
    """Return the files of that name of all processes that hold the text."""
    found = []
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes():
                found.append(path)
    return found
