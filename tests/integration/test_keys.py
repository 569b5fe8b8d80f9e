"""Keys out of real files and real programs: what is refused, what is read, and what never shows."""

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.config import load
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Order
from acp_runtime.keys import KeySource, key_source
from acp_runtime.keys.program import printed
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.launcher import LaunchError, LaunchRequest
from acp_runtime.session.catalogue import AgentKind

KEY = "sk-canary-4711"
ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/home/me", "XDG_RUNTIME_DIR": "/run/user/1", "MODEL_KEY": KEY}

NOBODY: Any = None  # whoever would hear of an agent
Make = Callable[[str], str]


async def refused(source: KeySource) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await source.read()
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert source.name in str(caught.value)
    return caught.value


@pytest.mark.requirement("D09.5")
async def test_a_key_is_read_from_a_private_file_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    file, source = tmp_path / "key", key_source(f"file:{tmp_path}/key", {})
    for key in (KEY, "sk-rotated"):
        file.write_text(f"{key}\n")
        file.chmod(0o600)
        assert (await source.read()).reveal() == key.encode()
    (tmp_path / "link").symlink_to(file)
    assert (await key_source("file:~/link", {"HOME": str(tmp_path)}).read()).reveal() == b"sk-rotated"


@pytest.mark.requirement("D09.5")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o602, 0o620, 0o666])
async def test_a_file_that_others_may_read_or_change_is_refused_by_name(tmp_path: Path, mode: int) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(mode)
    error = await refused(key_source(f"file:{tmp_path}/key", {}))
    assert error.kind == "key_unreadable"
    assert f"(mode {mode:04o}); chmod 0600" in str(error)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "key_missing"),
        (b" \n", "key_missing"),
        (b"canary\ntwo", "key_malformed"),
        (b"canary\xff", "key_malformed"),
        (b"canary" * 1500, "key_malformed"),
        (b"canary" * 9000, "key_unreadable"),
    ],
)
async def test_a_file_without_one_key_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    assert (await refused(key_source(f"file:{tmp_path}/key", {}))).kind == kind


async def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("fifo", "folder", "loop", "folder/../key/x"):
        async with asyncio.timeout(30):
            error = await refused(key_source(f"file:{tmp_path}/{name}", {}))
        assert error.kind == ("key_missing" if "key" in name else "key_unreadable")


@pytest.fixture
def program(tmp_path: Path) -> Make:
    def make(text: str, name: str = "teller") -> str:
        (tmp_path / name).write_text(f"#!{sys.executable}\n{text}\n")
        (tmp_path / name).chmod(0o755)
        return str(tmp_path / name)

    return make


@pytest.mark.requirement("D09.5")
async def test_a_command_gets_its_arguments_as_quoted_and_nothing_else(program: Make) -> None:
    text = "import os, sys; print('|'.join([*sys.argv[1:], os.getcwd(), sys.stdin.read(), *sorted(os.environ)]))"
    source = key_source(f"command:{program(text)} 'a;b' $HOME \"`c`\"", ENVIRON)
    seen = {each for each in (await source.read()).reveal().decode().split("|") if not each.startswith("LC_")}
    assert seen == {"a;b", "$HOME", "`c`", "/", "", "HOME", "PATH", "XDG_RUNTIME_DIR"}, "no shell, no input, no key"


@pytest.mark.requirement("D09.5")
@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("raise SystemExit(3)", "key_unreadable", "ended with code 3; try it in a terminal"),
        (
            "print('canary-1'); raise SystemExit('no: canary-1')",
            "key_unreadable",
            "with code 1, and said: no: ***; try",
        ),
        ("import os; os.kill(os.getpid(), 9)", "key_unreadable", "ended with code -9"),
        ("print('canary' * 9000)", "key_unreadable", "printed more than 16384 bytes"),
        ("print()", "key_missing", "is empty; have the command print the key alone"),
        ("print('canary one\\ntwo')", "key_malformed", "cannot be sent in a header"),
        (
            "import sys; sys.stderr.write('x' * 10**6 + '\\x1b[2Jlast words.'); exit(1)",
            "key_unreadable",
            "xlast words; ",
        ),
    ],
)
async def test_a_command_that_gives_no_key_is_refused_with_its_last_words(
    program: Make, text: str, kind: str, said: str
) -> None:
    error = await refused(key_source(f"command:{program(text)} canary", ENVIRON))
    assert (error.kind, said in str(error)) == (kind, True), str(error)
    assert len(str(error)) < 800


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    for given in ("no-such-program-of-ours canary", f"{tmp_path} canary"):
        assert "cannot be executed" in str(await refused(key_source(f"command:{given}", ENVIRON)))


async def test_a_program_is_ended_with_its_family_when_nobody_waits_for_it_any_more(
    program: Make, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "held")
    text = f"import os, signal\nos.fork()\nos.write(os.open('{tmp_path}/held', os.O_WRONLY), b'x')\nsignal.pause()"
    held = asyncio.StreamReader()
    end = os.fdopen(os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK), "rb")
    reading = asyncio.create_task(printed((program(text),), ENVIRON, name="command:x", remedy="look"))
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(held), end)
    async with asyncio.timeout(30):
        assert await held.readexactly(2) == b"xx"
        reading.cancel()
        assert await held.read() == b"", "the last of them has closed it"
        await asyncio.wait([reading])
    pipe.close()


async def test_a_program_that_does_not_end_is_told(program: Make) -> None:
    endless = program("import signal; signal.pause()")
    with pytest.raises(Rejected, match=r"command:x: its program had not ended after 0\.2 s; look"):
        await printed((endless,), ENVIRON, name="command:x", remedy="look", seconds=0.2)


async def test_a_helper_that_a_program_leaves_behind_holds_nothing_up(program: Make, tmp_path: Path) -> None:
    text = (
        f"import os, signal\nprint('{KEY}', flush=True)\nif os.fork() == 0:\n    signal.alarm(60)\n    signal.pause()"
    )
    async with asyncio.timeout(30):
        secret = await key_source(f"command:{program(text)}", ENVIRON).read()
    assert secret.reveal() == KEY.encode()


SECRET_TOOL = f"""\
import sys
known = {{"lookup service models account me": "{KEY}", "lookup service plain": "sk-plain"}}
found = known.get(" ".join(sys.argv[1:]))
sys.exit(1) if found is None else sys.stdout.write(found)"""


@pytest.mark.requirement("D09.5")
async def test_an_item_of_the_keychain_is_looked_up_by_the_program_of_the_desktop(
    program: Callable[..., str], tmp_path: Path
) -> None:
    program(SECRET_TOOL, "secret-tool")
    environ = ENVIRON | {"PATH": f"{tmp_path}:{ENVIRON['PATH']}"}
    for text, key in (("keychain:models/me", KEY), ("keychain:plain", "sk-plain")):
        assert (await key_source(text, environ).read()).reveal() == key.encode()
    error = await refused(key_source("keychain:a b/you", environ))
    assert error.kind == "key_unreadable"
    assert "; store it: secret-tool store --label=model service 'a b' account you" in str(error)


@pytest.mark.requirement("D09.5")
async def test_an_agent_without_its_key_is_not_started_and_no_engine_is_asked(tmp_path: Path) -> None:
    environ = ENVIRON | {"DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock"}
    launcher = DockerLauncher(replace(load(None, {"HOME": str(tmp_path)}), runtime_dir=tmp_path), environ)
    for key, kind in (("env:NOT_SET", "key_missing"), ("env:MODEL_KEY", "engine_unreachable")):
        order = Order(agent="a", workspace=str(tmp_path), model_url="http://127.0.0.1:9/v1", model_key=key)
        request = LaunchRequest("s", "bg-1", 1, AgentKind("a", ("a",)), order, tmp_path, str, NOBODY, "t" * 48)
        with pytest.raises(LaunchError) as caught:
            await launcher.launch(request, NOBODY)
        assert caught.value.kind == kind
